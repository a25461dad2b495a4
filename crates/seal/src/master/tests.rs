//! The file is whole, ours alone, and never overwritten.

use std::os::unix::fs::{PermissionsExt, symlink};

use claviger_domain::clock::EntropyError;

use super::*;

struct Sevens;

impl Entropy for Sevens {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        out.fill(7);
        Ok(())
    }
}

struct Dry;

impl Entropy for Dry {
    fn fill(&self, _: &mut [u8]) -> Result<(), EntropyError> {
        Err(EntropyError)
    }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("master.key");
    (folder, path)
}

fn fault(path: &Path) -> MasterKeyError {
    MasterKey::create_or_open(path, &Sevens).unwrap_err()
}

#[test]
fn a_first_start_makes_the_file_for_its_owner_alone_and_a_second_reads_it() {
    let (folder, path) = folder();
    let first = MasterKey::create_or_open(&path, &Sevens).unwrap();
    assert!(first.is_new());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read(&path).unwrap(), [7; 32]);
    let second = MasterKey::create_or_open(&path, &Dry).unwrap();
    assert_eq!((second.is_new(), second.id()), (false, first.id()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_draft_that_a_dying_process_left_is_replaced() {
    let (folder, path) = folder();
    fs::write(folder.path().join("master.key.new"), b"half").unwrap();
    MasterKey::create_or_open(&path, &Sevens).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn an_existing_file_is_never_overwritten() {
    let (_folder, path) = folder();
    fs::write(&path, [3; 32]).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    create(&path, &Sevens).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [3; 32]);
}

#[test]
fn a_file_that_others_can_use_is_refused() {
    for mode in [0o640, 0o604, 0o620, 0o601] {
        let (_folder, path) = folder();
        fs::write(&path, [3; 32]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert!(matches!(fault(&path), MasterKeyError::TooOpen { mode: m, .. } if m == mode), "{mode:o}");
    }
}

#[test]
fn a_file_of_another_length_is_refused_and_kept() {
    for length in [0, 31, 33, 64] {
        let (_folder, path) = folder();
        fs::write(&path, vec![3; length]).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(fault(&path), MasterKeyError::Length { length: l, .. } if l == length as u64));
        assert_eq!(fs::read(&path).unwrap().len(), length);
    }
}

#[test]
fn links_and_folders_are_refused() {
    let (folder, path) = folder();
    let real = folder.path().join("real.key");
    MasterKey::create_or_open(&real, &Sevens).unwrap();
    symlink(&real, &path).unwrap();
    assert!(matches!(fault(&path), MasterKeyError::NotAFile(_)));
    fs::remove_file(&path).unwrap();
    symlink(folder.path().join("nothing"), &path).unwrap();
    assert!(matches!(fault(&path), MasterKeyError::NotAFile(_)), "a dangling link is no invitation to write");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(matches!(fault(&path), MasterKeyError::NotAFile(_)));
}

#[test]
fn without_randomness_no_file_is_made() {
    let (folder, path) = folder();
    assert!(matches!(MasterKey::create_or_open(&path, &Dry), Err(MasterKeyError::Entropy)));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    assert!(matches!(MasterKey::open(&path), Err(MasterKeyError::Missing(_))));
}

#[test]
fn a_folder_that_is_not_there_is_named_in_the_error() {
    let (folder, _) = folder();
    let path = folder.path().join("gone").join("master.key");
    let text = fault(&path).to_string();
    assert!(text.contains("gone/master.key"), "{text}");
}

#[test]
fn the_id_is_that_of_the_key_and_shows_nothing_of_it() {
    let id = |byte| MasterKey::from_bytes(&[byte; 32]).unwrap().id();
    assert_eq!(id(1), id(1));
    assert_ne!(id(1), id(2));
    assert_eq!(id(1).to_string().len(), 16);
}
