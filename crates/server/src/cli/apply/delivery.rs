//! Where the tokens go that open the keys which were made: a file that only its owner reads, written after each.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::{cli::output::CliError, dotenv::write_private, git::WorkTree};

/// A file of tokens, a JSON object a line.
pub struct Delivery {
    path: PathBuf,
    text: Zeroizing<String>,
    /// How many were added.
    pub added: usize,
}

impl Delivery {
    /// Opens the file, or sees to it that there can be one. What it holds stays: it may not have been handed on yet.
    ///
    /// # Errors
    /// [`CliError`] when git tracks it, or it cannot be written.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let bad = |e: &dyn std::fmt::Display| CliError::refused(format!("{}: {e}", path.display()));
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = folder.canonicalize().map_err(|e| bad(&e))?;
        let path_whole = folder.join(path.file_name().ok_or_else(|| bad(&"not the path of a file"))?);
        if let Some(tree) = WorkTree::around(&folder)
            && tree.tracks(&path_whole).map_err(|e| bad(&e))?
        {
            return Err(bad(&"it is tracked by git: the next commit would carry the tokens"));
        }
        let text = match fs::read_to_string(&path_whole) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => String::new(),
            Err(e) => return Err(bad(&e)),
        };
        let delivery = Self { path: path_whole, text: Zeroizing::new(text), added: 0 };
        delivery.write()?;
        Ok(delivery)
    }

    /// Adds a line, and writes the file.
    ///
    /// # Errors
    /// [`CliError`] when it cannot be written.
    pub fn add(&mut self, name: &str, kind: &str, made: &Map<String, Value>) -> Result<(), CliError> {
        let mut line = Map::from_iter([(kind.to_owned(), Value::String(name.to_owned()))]);
        line.extend(made.clone());
        let line = Zeroizing::new(Value::Object(line).to_string());
        self.text.push_str(&line);
        self.text.push('\n');
        self.added += 1;
        self.write()
    }

    fn write(&self) -> Result<(), CliError> {
        write_private(&self.path, self.text.as_bytes())
            .map_err(|e| CliError::failed(format!("{}: {e}", self.path.display())))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes a file away that holds nothing.
    pub fn close(self) {
        if self.text.is_empty() {
            // An empty file that stays harms nobody.
            let _ = fs::remove_file(&self.path);
        }
    }
}
