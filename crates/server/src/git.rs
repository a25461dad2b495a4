//! What git knows of a file. Git itself is asked when it is installed; its index is read when it is not.

use std::{
    fs,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use ignore::gitignore::GitignoreBuilder;

/// Why it cannot be said whether git tracks a file.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    /// The index is of a kind that this reader does not know.
    #[error("{}: not an index that can be read; install git", .0.display())]
    Index(PathBuf),
    /// The system said no.
    #[error("{}: {source}", path.display())]
    Io {
        /// What was read.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// A work tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkTree {
    /// Its top folder.
    pub top: PathBuf,
    /// Where git keeps its index.
    git_dir: PathBuf,
}

impl WorkTree {
    /// The work tree that a folder lies in.
    #[must_use]
    pub fn around(folder: &Path) -> Option<Self> {
        folder.ancestors().find_map(|top| {
            let dot_git = top.join(".git");
            let git_dir = if dot_git.is_dir() {
                dot_git
            } else {
                // In linked work trees and submodules it is a file that says where.
                let text = fs::read_to_string(&dot_git).ok()?;
                top.join(text.strip_prefix("gitdir:")?.trim())
            };
            Some(Self { top: top.to_owned(), git_dir })
        })
    }

    /// Whether git tracks a file of this tree, that is, whether the next commit would carry it.
    ///
    /// # Errors
    /// [`GitError`] when it cannot be known.
    pub fn tracks(&self, file: &Path) -> Result<bool, GitError> {
        let Ok(inside) = file.strip_prefix(&self.top) else { return Ok(false) };
        let asked = Command::new("git")
            .arg("-C")
            .arg(&self.top)
            .args(["--literal-pathspecs", "ls-files", "--error-unmatch", "--"])
            .arg(inside)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match asked.map(|status| status.code()) {
            Ok(Some(0)) => Ok(true),
            Ok(Some(1)) => Ok(false),
            // Not installed, or not willing to speak of this tree.
            Ok(_) | Err(_) => self.index_names(inside),
        }
    }

    fn index_names(&self, inside: &Path) -> Result<bool, GitError> {
        let path = self.git_dir.join("index");
        let io = |source| GitError::Io { path: path.clone(), source };
        let file = match fs::File::open(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(io(e)),
        };
        let wanted = inside.as_os_str().as_encoded_bytes();
        match index_has(BufReader::new(file), wanted).map_err(io)? {
            Some(has) => Ok(has),
            None => Err(GitError::Index(path)),
        }
    }

    /// Whether git passes a file of this tree over.
    #[must_use]
    pub fn ignores(&self, file: &Path) -> bool {
        let mut rules = GitignoreBuilder::new(&self.top);
        // A file of rules that is not there or has a bad line ignores nothing more.
        let _ = rules.add(self.git_dir.join("info/exclude"));
        let folder = file.parent().unwrap_or(&self.top);
        let mut folders: Vec<&Path> = folder.ancestors().take_while(|f| f.starts_with(&self.top)).collect();
        folders.reverse();
        if rules.build().is_ok_and(|r| r.matched_path_or_any_parents(file, false).is_ignore()) {
            return true;
        }
        // The nearest file that says something has the last word.
        folders.into_iter().rev().find_map(|folder| {
            let mut rules = GitignoreBuilder::new(folder);
            let _ = rules.add(folder.join(".gitignore"));
            let rules = rules.build().ok()?;
            let said = rules.matched_path_or_any_parents(file, false);
            (!said.is_none()).then(|| said.is_ignore())
        }) == Some(true)
    }
}

/// Whether an index (version 2 to 4) names a path; `None`: not such an index.
fn index_has(mut index: impl Read, wanted: &[u8]) -> io::Result<Option<bool>> {
    let mut head = [0_u8; 12];
    index.read_exact(&mut head)?;
    let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let (version, entries) = (number(4), number(8));
    if &head[..4] != b"DIRC" || !(2..=4).contains(&version) {
        return Ok(None);
    }
    let mut name = Vec::new();
    for _ in 0..entries {
        // Times, device, inode, mode, owner, size, object id (SHA-1), flags.
        let mut fixed = [0_u8; 62];
        index.read_exact(&mut fixed)?;
        let mut read = fixed.len();
        if fixed[60] & 0x40 != 0 {
            index.read_exact(&mut [0_u8; 2])?;
            read += 2;
        }
        if version == 4 {
            let cut = shared_prefix(&mut index)?;
            name.truncate(name.len().saturating_sub(cut));
        } else {
            name.clear();
        }
        read += until_zero(&mut index, &mut name)?;
        if version < 4 {
            // Padded with one to eight zeros to a multiple of eight; the first was read with the name.
            let padding = (8 - read % 8) % 8;
            index.read_exact(&mut [0_u8; 8][..padding])?;
        }
        if name == wanted {
            return Ok(Some(true));
        }
    }
    // A split index (`link`) keeps most names elsewhere.
    let mut extension = [0_u8; 4];
    let split = index.read_exact(&mut extension).is_ok() && &extension == b"link";
    Ok((!split).then_some(false))
}

/// The number of bytes to take off the name before (git's offset encoding).
fn shared_prefix(index: &mut impl Read) -> io::Result<usize> {
    let mut byte = [0_u8];
    index.read_exact(&mut byte)?;
    let mut value = usize::from(byte[0] & 0x7F);
    while byte[0] & 0x80 != 0 {
        index.read_exact(&mut byte)?;
        value = ((value + 1) << 7) | usize::from(byte[0] & 0x7F);
    }
    Ok(value)
}

/// Reads a name and the zero after it; how many bytes that were.
fn until_zero(index: &mut impl Read, name: &mut Vec<u8>) -> io::Result<usize> {
    let before = name.len();
    let mut byte = [0_u8];
    loop {
        index.read_exact(&mut byte)?;
        if byte[0] == 0 {
            return Ok(name.len() - before + 1);
        }
        if name.len() >= 4_096 {
            return Err(io::Error::other("a name without an end"));
        }
        name.push(byte[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, args: &[&str]) -> bool {
        let done = Command::new("git").arg("-C").arg(folder).args(args).output();
        done.is_ok_and(|out| out.status.success())
    }

    fn house() -> Option<tempfile::TempDir> {
        let dir = tempfile::tempdir().unwrap();
        git(dir.path(), &["init", "-q"]).then_some(dir)
    }

    #[test]
    fn the_index_names_what_git_tracks_in_every_version() {
        let Some(dir) = house() else { return };
        fs::create_dir(dir.path().join("app")).unwrap();
        let names = [".env", "app/.env.local", "app/main.py", "app/mainly.py", "z"];
        for name in names {
            fs::write(dir.path().join(name), name).unwrap();
        }
        assert!(git(dir.path(), &["add", "-f", "."]));
        fs::write(dir.path().join("new"), "").unwrap();
        let tree = WorkTree::around(&dir.path().join("app")).unwrap();
        for version in ["2", "4", "2"] {
            assert!(git(dir.path(), &["update-index", "--index-version", version]));
            for name in names {
                assert!(tree.index_names(Path::new(name)).unwrap(), "{name} in version {version}");
                assert!(tree.tracks(&dir.path().join(name)).unwrap(), "{name}");
            }
            for name in ["new", "app", "app/main", "app/.env"] {
                assert!(!tree.index_names(Path::new(name)).unwrap(), "{name} in version {version}");
                assert!(!tree.tracks(&dir.path().join(name)).unwrap() || name == "app", "{name}");
            }
        }
    }

    #[test]
    fn an_index_that_cannot_be_read_is_not_taken_for_an_empty_one() {
        assert!(index_has(&b"DIRC\0\0\0\x05\0\0\0\0"[..], b".env").unwrap().is_none());
        assert!(index_has(&b"DIRC\0\0\0\x02\0\0\0\x01"[..], b".env").is_err());
        assert!(index_has(&b"DIRC\0\0\0\x02\0\0\0\0link"[..], b".env").unwrap().is_none());
        assert_eq!(index_has(&b"DIRC\0\0\0\x02\0\0\0\0"[..], b".env").unwrap(), Some(false));
    }

    #[test]
    fn the_nearest_rule_says_whether_a_file_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join(".git/info")).unwrap();
        fs::create_dir(dir.path().join("app")).unwrap();
        let tree = WorkTree::around(&dir.path().join("app")).unwrap();
        assert_eq!(tree.top, dir.path());
        let (top, deep) = (dir.path().join(".env.local"), dir.path().join("app/.env.local"));
        assert!(!tree.ignores(&top) && !tree.ignores(&deep));
        fs::write(dir.path().join(".gitignore"), "node_modules\n.env*\n").unwrap();
        assert!(tree.ignores(&top) && tree.ignores(&deep));
        fs::write(dir.path().join("app/.gitignore"), "!.env.local\n").unwrap();
        assert!(tree.ignores(&top) && !tree.ignores(&deep));
        assert!(WorkTree::around(Path::new("/")).is_none());
    }
}
