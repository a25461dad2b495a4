//! Tokens of ours that are not API keys: operators' sessions, wrapped deliveries, refresh tokens. They have the format of keys
//! under a tag of their own, so that scanners find them and none is ever taken for another.

use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use super::{
    Brand, CHECKED_LEN, PREFIX_LEN, PUBLIC_ID_LEN, PublicId, TOKEN_LEN, TokenError, base62, checksum,
};
use crate::clock::{Entropy, EntropyError};

/// What a side token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SideUse {
    /// `cvg_oper_…`: administers.
    Operator,
    /// `cvg_wrap_…`: opens one delivery, once.
    Wrapping,
    /// `cvg_sign_…`: signs requests.
    Signing,
    /// `cvg_rfsh_…`: buys the next access token, once.
    Refresh,
}

impl SideUse {
    pub(super) const ALL: [Self; 4] = [Self::Operator, Self::Wrapping, Self::Signing, Self::Refresh];

    /// What stands after the brand.
    pub(super) const fn tag(self) -> &'static [u8; 6] {
        match self {
            Self::Operator => b"_oper_",
            Self::Wrapping => b"_wrap_",
            Self::Signing => b"_sign_",
            Self::Refresh => b"_rfsh_",
        }
    }
}

/// A whole, well-formed, checksummed side token. It cannot be printed or compared; it is zeroed on drop.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SideToken([u8; TOKEN_LEN]);

impl SideToken {
    /// Makes a new one, by rejection sampling.
    ///
    /// # Errors
    /// [`EntropyError`] when randomness cannot be had.
    pub fn generate(brand: Brand, to: SideUse, entropy: &dyn Entropy) -> Result<Self, EntropyError> {
        Self::made(brand, to, None, entropy)
    }

    /// Makes a new one that carries the public id of the key that it belongs to, in place of one of its own.
    ///
    /// # Errors
    /// [`EntropyError`] when randomness cannot be had.
    pub fn generate_for(
        brand: Brand,
        to: SideUse,
        whose: PublicId,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        Self::made(brand, to, Some(whose), entropy)
    }

    fn made(
        brand: Brand,
        to: SideUse,
        whose: Option<PublicId>,
        entropy: &dyn Entropy,
    ) -> Result<Self, EntropyError> {
        let mut text = [0_u8; TOKEN_LEN];
        text[..3].copy_from_slice(&brand.0);
        text[3..PREFIX_LEN].copy_from_slice(to.tag());
        base62::fill_random(&mut text[PREFIX_LEN..CHECKED_LEN], entropy)?;
        if let Some(PublicId(id)) = whose {
            text[PREFIX_LEN..PREFIX_LEN + PUBLIC_ID_LEN].copy_from_slice(&id);
        }
        let sum = checksum(&text[..CHECKED_LEN]);
        text[CHECKED_LEN..].copy_from_slice(&sum);
        Ok(Self(text))
    }

    /// Reads one that must be for `to`.
    ///
    /// # Errors
    /// [`TokenError`] for anything else than a well-formed token of this brand and use.
    pub fn parse(brand: Brand, to: SideUse, text: &[u8]) -> Result<Self, TokenError> {
        let bytes: [u8; TOKEN_LEN] = text.try_into().map_err(|_| TokenError)?;
        let token = Self(bytes);
        let ours = bytes[..3] == brand.0 && bytes[3..PREFIX_LEN] == *to.tag();
        let whole = bytes[PREFIX_LEN..].iter().all(|b| base62::is_digit(*b))
            && checksum(&bytes[..CHECKED_LEN]) == bytes[CHECKED_LEN..];
        if ours && whole { Ok(token) } else { Err(TokenError) }
    }

    /// Which use a text claims by its prefix.
    #[must_use]
    pub fn use_of(brand: Brand, text: &[u8]) -> Option<SideUse> {
        let (head, tail) = text.split_at_checked(3)?;
        SideUse::ALL.into_iter().find(|u| head == brand.0 && tail.starts_with(u.tag()))
    }

    /// The public id, by which its record is found.
    #[must_use]
    pub fn public_id(&self) -> PublicId {
        let mut id = [0_u8; PUBLIC_ID_LEN];
        id.copy_from_slice(&self.0[PREFIX_LEN..PREFIX_LEN + PUBLIC_ID_LEN]);
        PublicId(id)
    }

    /// The token's text: shown once, and put through the MAC.
    #[must_use]
    pub fn expose(&self) -> &[u8; TOKEN_LEN] {
        &self.0
    }

    /// What may be shown of it later.
    #[must_use]
    pub fn hint(&self) -> String {
        format!("{}…", String::from_utf8_lossy(&self.0[..PREFIX_LEN + 4]))
    }
}

impl fmt::Debug for SideToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SideToken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{KeyClass, Token};

    struct Counter;
    impl Entropy for Counter {
        fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
            out.iter_mut().zip(0_u8..).for_each(|(byte, n)| *byte = n);
            Ok(())
        }
    }

    #[test]
    fn a_side_token_reads_back_under_its_own_use_only() {
        let brand = Brand::DEFAULT;
        for to in SideUse::ALL {
            let token = SideToken::generate(brand, to, &Counter).unwrap();
            let text = token.expose();
            for other in SideUse::ALL {
                assert_eq!(SideToken::parse(brand, other, text).is_ok(), other == to);
            }
            assert_eq!(SideToken::use_of(brand, text), Some(to));
            assert!(Token::parse(brand, text).is_err(), "a side token is never a key");
            assert!(SideToken::parse(Brand::parse("abc").unwrap(), to, text).is_err());
            let mut broken = *text;
            broken[20] = if broken[20] == b'a' { b'b' } else { b'a' };
            assert!(SideToken::parse(brand, to, &broken).is_err());
        }
        let whose = PublicId::parse("0123456789").unwrap();
        let named = SideToken::generate_for(brand, SideUse::Signing, whose, &Counter).unwrap();
        assert_eq!(named.public_id(), whose);
        assert!(SideToken::parse(brand, SideUse::Signing, named.expose()).is_ok());
        let other = SideToken::generate(brand, SideUse::Signing, &Counter).unwrap();
        assert_eq!(named.expose()[19..46], other.expose()[19..46], "the secret is no shorter");
        let key = Token::generate(brand, KeyClass::Live, &Counter).unwrap();
        assert!(SideToken::parse(brand, SideUse::Wrapping, key.expose()).is_err());
    }
}
