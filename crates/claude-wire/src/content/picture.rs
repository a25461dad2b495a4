//! The size of a picture, from the beginning of its base64.

use base64::{Engine, engine::general_purpose::STANDARD};

/// Characters that are looked at: a JPEG's size stands behind its thumbnails (96 KB).
const MOST: usize = 128 * 1024;

/// Whether it begins as a PNG, JPEG, GIF or WebP does.
pub(super) fn is_one(base64: &[u8]) -> bool {
    [b"iVBORw".as_slice(), b"/9j/", b"R0lGOD", b"UklGR"].iter().any(|magic| base64.starts_with(magic))
}

/// Width and height in pixels.
pub(super) fn size(base64: &[u8]) -> Option<(u32, u32)> {
    let most = if base64.starts_with(b"/9j/") { MOST } else { 64 };
    let length = base64.len().min(most) / 4 * 4;
    let bytes = STANDARD.decode(base64.get(..length)?).ok()?;
    match bytes.first()? {
        0x89 => Some((be32(&bytes, 16)?, be32(&bytes, 20)?)),
        b'G' => Some((le16(&bytes, 6)?, le16(&bytes, 8)?)),
        b'R' => webp(&bytes),
        _ => jpeg(&bytes),
    }
}

fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8 " => Some((le16(bytes, 26)? & 0x3fff, le16(bytes, 28)? & 0x3fff)),
        b"VP8L" => {
            let bits = le16(bytes, 21)? | le16(bytes, 23)? << 16;
            Some(((bits & 0x3fff) + 1, (bits >> 14 & 0x3fff) + 1))
        }
        b"VP8X" => {
            let of = |at| Some((le16(bytes, at)? | u32::from(*bytes.get(at + 2)?) << 16) + 1);
            Some((of(24)?, of(27)?))
        }
        _ => None,
    }
}

/// Walks over the segments to the frame's header.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    let mut at = 2;
    loop {
        while *bytes.get(at)? == 0xff && *bytes.get(at + 1)? == 0xff {
            at += 1;
        }
        if *bytes.get(at)? != 0xff {
            return None;
        }
        match *bytes.get(at + 1)? {
            0xc4 | 0xc8 | 0xcc => {}
            0xc0..=0xcf => return Some((be16(bytes, at + 7)?, be16(bytes, at + 5)?)),
            _ => {}
        }
        at += 2 + usize::try_from(be16(bytes, at + 2)?).ok()?;
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 2)?.try_into().ok().map(|two| u32::from(u16::from_be_bytes(two)))
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 2)?.try_into().ok().map(|two| u32::from(u16::from_le_bytes(two)))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Option<(u32, u32)> {
        let text = STANDARD.encode(bytes);
        assert!(is_one(text.as_bytes()));
        size(text.as_bytes())
    }

    #[test]
    fn sizes_are_read_of_every_kind_that_the_api_takes() {
        let gif = [b"GIF89a".as_slice(), &[0x40, 0x01, 0xf0, 0x00, 0, 0]].concat();
        assert_eq!(of(&gif), Some((320, 240)));
        let segment = [0xff, 0xe0, 0, 4, 9, 9];
        let frame = [0xff, 0xff, 0xc2, 0, 11, 8, 0x02, 0x58, 0x03, 0x20, 0, 0];
        let jpeg = [&[0xff, 0xd8], segment.as_slice(), &frame].concat();
        assert_eq!(of(&jpeg), Some((800, 600)));
        let riff = |chunk: &[u8], rest: &[u8]| [b"RIFF\0\0\0\0WEBP", chunk, &[0; 4], rest].concat();
        let plain = riff(b"VP8 ", &[0, 0, 0, 0x9d, 1, 0x2a, 0x20, 0x03, 0x58, 0x02, 0, 0]);
        assert_eq!(of(&plain), Some((800, 600)));
        let wide = riff(b"VP8X", &[0, 0, 0, 0, 0x1f, 0x03, 0, 0x57, 0x02, 0, 0, 0]);
        assert_eq!(of(&wide), Some((800, 600)));
        let packed = 799_u32 | 599 << 14;
        let lossless = riff(b"VP8L", &[&[0x2f], packed.to_le_bytes().as_slice(), &[0; 7]].concat());
        assert_eq!(of(&lossless), Some((800, 600)));
    }

    #[test]
    fn what_breaks_off_or_is_no_base64_has_no_size() {
        assert_eq!(size(b"iVBORw0K"), None);
        assert_eq!(size(b"/9j/\xff\xff\xff\xff"), None);
        assert_eq!(of(&[0xff, 0xd8, 0xff, 0xe0, 0xff, 0xff]), None);
        assert!(!is_one(b"JVBERi0x"));
    }
}
