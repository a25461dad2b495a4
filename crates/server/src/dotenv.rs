//! `.env` files: reading what they set, changing some lines and leaving the others as they are, writing them so that
//! nobody else can read them and nobody sees half of one.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Sets variables in a file's text. The first line that sets a variable is replaced where it stands, further ones of
/// the same name go (the last would win), what is not there is added at the end. All else stays byte for byte.
#[must_use]
pub fn with_variables(text: &str, wanted: &[(&str, &str)]) -> String {
    let ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let mut out = String::with_capacity(text.len() + 256);
    let mut written = vec![false; wanted.len()];
    for line in text.split_inclusive('\n') {
        let found = assigned(line).and_then(|(_, name, _)| wanted.iter().position(|(n, _)| *n == name));
        let Some(at) = found else {
            out.push_str(line);
            continue;
        };
        if std::mem::replace(&mut written[at], true) {
            continue;
        }
        let export = assigned(line).map_or("", |(export, ..)| export);
        let (name, value) = wanted[at];
        out.push_str(&format!("{export}{name}={value}{ending}"));
    }
    if !out.is_empty() && !out.ends_with('\n') {
        out.push_str(ending);
    }
    for ((name, value), written) in wanted.iter().zip(written) {
        if !written {
            out.push_str(&format!("{name}={value}{ending}"));
        }
    }
    out
}

/// What a file's text sets, in its order; quotes around a value are taken off.
pub fn variables(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| assigned(line).map(|(_, name, value)| (name, unquoted(value))))
}

/// `export `, name and value of a line that sets a variable.
fn assigned(line: &str) -> Option<(&str, &str, &str)> {
    let line = line.trim_end_matches(['\r', '\n']);
    let rest = line.trim_start();
    let (export, rest) = match rest.strip_prefix("export ") {
        Some(rest) => ("export ", rest.trim_start()),
        None => ("", rest),
    };
    let (name, value) = rest.split_once('=')?;
    let name = name.trim_end();
    is_name(name).then_some((export, name, value))
}

/// Whether a text can be a variable's name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let word = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    word && text.bytes().next().is_some_and(|b| !b.is_ascii_digit())
}

fn unquoted(value: &str) -> &str {
    let value = value.trim();
    for quote in ['"', '\''] {
        if let Some((inside, _)) = value.strip_prefix(quote).and_then(|v| v.split_once(quote)) {
            return inside;
        }
    }
    // What follows a space and `#` is a remark.
    value.split_once(" #").map_or(value, |(value, _)| value.trim_end())
}

/// Puts a file in place whole, readable by its owner only, whatever was there before.
///
/// # Errors
/// As the system says; the old file is untouched then.
pub fn write_private(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, content, 0o600)
}

/// Puts a file in place whole, with the mode that it has or is given anew.
///
/// # Errors
/// As [`write_private`].
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("not the name of a file"))?;
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(format!(".{}.new", std::process::id()));
    let aside = path.with_file_name(aside);
    let made = (|| {
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&aside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&aside, path)
    })();
    if made.is_err() {
        // It may not have been made at all.
        let _ = fs::remove_file(&aside);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn other_lines_stay_as_they_are() {
        let before =
            "# mine\nDB=1\nexport  ANTHROPIC_API_KEY = 'old'\n\nANTHROPIC_API_KEY=older\nLAST=\"x=y\"";
        let after =
            with_variables(before, &[("ANTHROPIC_API_KEY", "new"), ("ANTHROPIC_BASE_URL", "http://h")]);
        assert_eq!(
            after,
            "# mine\nDB=1\nexport ANTHROPIC_API_KEY=new\n\nLAST=\"x=y\"\nANTHROPIC_BASE_URL=http://h\n"
        );
        let again =
            with_variables(&after, &[("ANTHROPIC_API_KEY", "new"), ("ANTHROPIC_BASE_URL", "http://h")]);
        assert_eq!(again, after, "a second time changes nothing");
    }

    #[test]
    fn endings_of_lines_are_kept() {
        assert_eq!(with_variables("A=1\r\nB=2\r\n", &[("A", "3"), ("C", "4")]), "A=3\r\nB=2\r\nC=4\r\n");
        assert_eq!(with_variables("", &[("A", "3")]), "A=3\n");
        assert_eq!(with_variables("#A=1\nAB=2", &[("A", "3")]), "#A=1\nAB=2\nA=3\n");
    }

    #[test]
    fn what_a_file_sets_is_read_as_programs_read_it() {
        let text =
            "A=1\nexport B = \"two # 2\" # remark\n# C=3\nD='d'\nE=\nF=x # y\n1G=2\nno line\r\nH=a#b\r\n";
        let read: Vec<_> = variables(text).collect();
        assert_eq!(read, [("A", "1"), ("B", "two # 2"), ("D", "d"), ("E", ""), ("F", "x"), ("H", "a#b")]);
    }

    #[test]
    fn a_file_is_whole_and_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        write_private(&path, b"new").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write_private(&dir.path().join("no/such"), b"x").is_err());
    }
}
