//! Lower-case hex digits, as signatures and nonces are written: 96 of them come with each request.

/// What each digit is worth.
const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut digit = 0;
    while digit < 16 {
        values[b"0123456789abcdef"[digit as usize] as usize] = digit;
        digit += 1;
    }
    values
};
/// No digit.
const NONE: u8 = 0xff;

/// The bytes, if all is hex of just that length.
pub(super) fn decoded<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let (mut bytes, mut seen) = ([0; N], 0);
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = [VALUES[usize::from(pair[0])], VALUES[usize::from(pair[1])]];
        seen |= high | low;
        *byte = high << 4 | low & 0x0f;
    }
    (seen < 16).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_reads_back_and_nothing_else_reads() {
        for byte in 0..=u8::MAX {
            assert_eq!(decoded(hex::encode([byte]).as_bytes()), Some([byte]));
            let pair = [b'0', byte];
            let is_digit = matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            assert_eq!(decoded::<1>(&pair).is_some(), is_digit, "{byte}");
            assert_eq!(decoded::<1>(&[byte, b'0']).is_some(), is_digit, "{byte}");
        }
        assert_eq!(decoded(b"00ff1a"), Some([0x00, 0xff, 0x1a]));
        assert_eq!((decoded::<2>(b"00f"), decoded::<2>(b"00ff1"), decoded::<1>(b"")), (None, None, None));
    }
}
