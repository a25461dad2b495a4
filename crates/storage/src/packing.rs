//! A compact form for what is only ever read back whole: texts with their length, integers of variable length.

use crate::engine::Unreadable;

/// Writes.
#[derive(Debug, Default)]
pub(crate) struct Packer(Vec<u8>);

impl Packer {
    pub fn with_capacity(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes))
    }

    /// LEB128: seven bits a byte, lowest first.
    pub fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// Zigzag, so that small negative numbers are short too.
    pub fn int(&mut self, value: i64) {
        self.uint(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub fn text(&mut self, text: &str) {
        self.uint(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
    }

    pub fn opt_text(&mut self, text: Option<&str>) {
        match text {
            None => self.uint(0),
            Some(text) => {
                self.uint(text.len() as u64 + 1);
                self.0.extend_from_slice(text.as_bytes());
            }
        }
    }

    /// Bytes that were packed before, as they are.
    pub fn raw(&mut self, packed: &[u8]) {
        self.0.extend_from_slice(packed);
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what [`Packer`] wrote, in the same order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unpacker<'a> {
    rest: &'a [u8],
    column: &'static str,
}

impl<'a> Unpacker<'a> {
    /// `column` is named when the bytes cannot be read.
    pub const fn new(bytes: &'a [u8], column: &'static str) -> Self {
        Self { rest: bytes, column }
    }

    const fn broken(&self) -> Unreadable {
        Unreadable(self.column)
    }

    pub fn uint(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first().ok_or(self.broken())?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.broken())
    }

    pub fn int(&mut self) -> Result<i64, Unreadable> {
        let zigzag = self.uint()?;
        Ok((zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed())
    }

    /// An integer of a smaller type.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, Unreadable> {
        T::try_from(self.uint()?).map_err(|_| self.broken())
    }

    fn take(&mut self, length: u64) -> Result<&'a str, Unreadable> {
        let length = usize::try_from(length).map_err(|_| self.broken())?;
        let (text, rest) = self.rest.split_at_checked(length).ok_or(self.broken())?;
        self.rest = rest;
        std::str::from_utf8(text).map_err(|_| self.broken())
    }

    pub fn text(&mut self) -> Result<&'a str, Unreadable> {
        let length = self.uint()?;
        self.take(length)
    }

    pub fn opt_text(&mut self) -> Result<Option<&'a str>, Unreadable> {
        match self.uint()? {
            0 => Ok(None),
            length => self.take(length - 1).map(Some),
        }
    }

    /// A word or an id, by its reader.
    pub fn parsed<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<T, Unreadable> {
        parse(self.text()?).ok_or(self.broken())
    }

    /// Likewise, if there is one.
    pub fn opt_parsed<T>(&mut self, parse: impl FnOnce(&str) -> Option<T>) -> Result<Option<T>, Unreadable> {
        match self.opt_text()? {
            None => Ok(None),
            Some(text) => parse(text).map(Some).ok_or(self.broken()),
        }
    }

    /// The bytes not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_packed_is_read_back(n in any::<u64>(), i in any::<i64>(), t in ".{0,300}", o in proptest::option::of(".{0,20}")) {
            let mut packer = Packer::default();
            packer.uint(n);
            packer.int(i);
            packer.text(&t);
            packer.opt_text(o.as_deref());
            let bytes = packer.finish();
            let mut unpacker = Unpacker::new(&bytes, "body");
            prop_assert_eq!(unpacker.uint().unwrap(), n);
            prop_assert_eq!(unpacker.int().unwrap(), i);
            prop_assert_eq!(unpacker.text().unwrap(), t.as_str());
            prop_assert_eq!(unpacker.opt_text().unwrap(), o.as_deref());
            prop_assert!(unpacker.rest().is_empty());
        }

        #[test]
        fn broken_bytes_are_refused_and_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let mut unpacker = Unpacker::new(&bytes, "body");
            while unpacker.text().is_ok() && !unpacker.rest().is_empty() {}
            let _ = unpacker.int();
        }
    }
}
