//! The few arguments that verbs take: one optional name and `--option value` pairs.

use std::str::FromStr;

use anyhow::{Context, bail};

/// Words left on the command line; each verb takes what it knows and then calls [`Arguments::finish`].
pub struct Arguments {
    words: Vec<String>,
}

impl Arguments {
    pub fn new(words: impl Iterator<Item = String>) -> Self {
        Self { words: words.collect() }
    }

    /// Takes `--name value` or `--name=value`.
    pub fn option<T>(&mut self, name: &str) -> anyhow::Result<Option<T>>
    where
        T: FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let joined = format!("{name}=");
        let Some(at) = self.words.iter().position(|word| word == name || word.starts_with(&joined)) else {
            return Ok(None);
        };
        let word = self.words.remove(at);
        let value = match word.strip_prefix(&joined) {
            Some(value) => value.to_owned(),
            None if at < self.words.len() => self.words.remove(at),
            None => bail!("{name} wants a value"),
        };
        value.parse().map(Some).with_context(|| format!("{name} {value}"))
    }

    /// Takes `--name`, which has no value; true when it was given.
    pub fn flag(&mut self, name: &str) -> bool {
        let at = self.words.iter().position(|word| word == name);
        at.map(|at| self.words.remove(at)).is_some()
    }

    /// Takes the first word that is not an option.
    pub fn word(&mut self) -> Option<String> {
        let at = self.words.iter().position(|word| !word.starts_with("--"))?;
        Some(self.words.remove(at))
    }

    /// Refuses whatever nobody took.
    pub fn finish(self) -> anyhow::Result<()> {
        match self.words.first() {
            None => Ok(()),
            Some(word) => bail!("unexpected argument {word:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> Arguments {
        Arguments::new(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn options_are_taken_in_both_spellings_and_words_remain() {
        let mut given = arguments(&["--rounds", "20", "kill", "--seed=7"]);
        assert_eq!(given.option::<u32>("--rounds").unwrap(), Some(20));
        assert_eq!(given.option::<u64>("--seed").unwrap(), Some(7));
        assert_eq!(given.word().as_deref(), Some("kill"));
        given.finish().unwrap();
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        assert!(arguments(&["--fast"]).finish().is_err());
        assert!(arguments(&["--rounds"]).option::<u32>("--rounds").is_err());
        assert!(arguments(&["--rounds", "many"]).option::<u32>("--rounds").is_err());
    }
}
