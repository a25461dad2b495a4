//! A server's certificate that its own authority is.

use std::path::PathBuf;

use tempfile::TempDir;

pub struct Certificate {
    _folder: TempDir,
    pub pem: String,
    pub key_pem: String,
    pub pem_file: PathBuf,
    pub key_file: PathBuf,
}

impl Certificate {
    pub fn new() -> Self {
        let made =
            rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let (pem, key_pem) = (made.cert.pem(), made.signing_key.serialize_pem());
        let folder = tempfile::tempdir().unwrap();
        let (pem_file, key_file) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        std::fs::write(&pem_file, &pem).unwrap();
        std::fs::write(&key_file, &key_pem).unwrap();
        Self { _folder: folder, pem, key_pem, pem_file, key_file }
    }
}
