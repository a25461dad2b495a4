//! Where groups wait while the store is away: one append-only file a chain, synced after each group, deleted once the
//! store has everything. Each group carries its number in the chain, so that draining it twice writes it once.
//!
//! ```text
//! file  = "claviger-spool/v1 " chain "\n" *frame
//! frame = length:u32le crc32:u32le number:i64le content (JSON, `length` bytes with the number)
//! ```
//! A frame that was cut short by a crash was never acknowledged and is ignored.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use claviger_domain::{id::NodeId, ledger::Group};

use super::gather::{Content, ContentRef};

const MAGIC: &str = "claviger-spool/v1 ";
const EXTENSION: &str = "spool";
const FRAME_HEAD: usize = 8;
/// No group is larger: slots bound it.
const MAX_FRAME: u32 = 64 << 20;

/// The spool of this incarnation.
pub(super) struct Spool {
    dir: PathBuf,
    path: PathBuf,
    chain: NodeId,
    max_bytes: u64,
    open: Option<OpenFile>,
}

struct OpenFile {
    file: File,
    /// Where the next frame goes: the end of the last one that was synced.
    end: u64,
    /// Where the oldest frame stands that the store does not have.
    next: u64,
}

/// A group as it stands in a spool.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) number: i64,
    pub(crate) content: Content,
}

impl Spool {
    pub(super) fn new(dir: PathBuf, chain: NodeId, max_bytes: u64) -> Self {
        let path = dir.join(format!("{chain}.{EXTENSION}"));
        Self { dir, path, chain, max_bytes, open: None }
    }

    /// Appends and syncs one group. After an error the file is as it was.
    pub(super) fn append(&mut self, group: &Group) -> io::Result<()> {
        let frame = encode(group)?;
        if self.open.is_none() {
            self.open = Some(self.create()?);
        }
        let max = self.max_bytes;
        let Some(open) = &mut self.open else { return Ok(()) };
        if open.end.saturating_add(frame.len() as u64) > max {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the spool is full"));
        }
        let written = open.file.seek(SeekFrom::Start(open.end)).and_then(|_| open.file.write_all(&frame));
        if let Err(error) = written.and_then(|()| open.file.sync_data()) {
            let _ = open.file.set_len(open.end);
            return Err(error);
        }
        open.end += frame.len() as u64;
        Ok(())
    }

    /// The oldest group that the store does not have.
    pub(super) fn oldest(&mut self) -> io::Result<Option<Frame>> {
        let Some(open) = &mut self.open else { return Ok(None) };
        if open.next >= open.end {
            return Ok(None);
        }
        open.file.seek(SeekFrom::Start(open.next))?;
        Ok(read_frame(&mut open.file)?.map(|(frame, _)| frame))
    }

    /// The store has the oldest group. With the last one the file goes.
    pub(super) fn drained_one(&mut self) -> io::Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.file.seek(SeekFrom::Start(open.next))?;
        let length = read_frame(&mut open.file)?.map_or(open.end, |(_, length)| length);
        open.next = open.next.saturating_add(length);
        if open.next < open.end {
            return Ok(());
        }
        self.open = None;
        fs::remove_file(&self.path)?;
        sync_dir(&self.dir)
    }

    /// Bytes that wait.
    pub(super) fn waiting(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.end.saturating_sub(open.next))
    }

    fn create(&self) -> io::Result<OpenFile> {
        fs::create_dir_all(&self.dir)?;
        let mut file =
            OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&self.path)?;
        let head = format!("{MAGIC}{}\n", self.chain);
        file.write_all(head.as_bytes())?;
        file.sync_all()?;
        sync_dir(&self.dir)?;
        let end = head.len() as u64;
        Ok(OpenFile { file, end, next: end })
    }
}

/// What an earlier incarnation could not bring to the store.
#[derive(Debug)]
pub(crate) struct Leftover {
    pub(crate) chain: NodeId,
    pub(crate) frames: Vec<Frame>,
    path: PathBuf,
}

impl Leftover {
    /// The store has everything: the file goes.
    pub(crate) fn remove(self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        self.path.parent().map_or(Ok(()), sync_dir)
    }
}

/// The spools that earlier incarnations left.
pub(crate) fn leftovers(dir: &Path) -> io::Result<Vec<Leftover>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == EXTENSION) {
            found.push(read_file(path)?);
        }
    }
    Ok(found)
}

fn read_file(path: PathBuf) -> io::Result<Leftover> {
    let mut bytes = Vec::new();
    File::open(&path)?.read_to_end(&mut bytes)?;
    let chain = path.file_stem().and_then(|s| s.to_str()).and_then(|s| NodeId::parse(s).ok());
    let chain = chain.ok_or_else(|| invalid("the spool's name is not a chain"))?;
    let head = format!("{MAGIC}{chain}\n");
    let mut frames = Vec::new();
    // A file without its whole first line was never used.
    let Some(mut rest) = bytes.strip_prefix(head.as_bytes()) else {
        return Ok(Leftover { chain, frames, path });
    };
    while let Some((frame, _)) = read_frame(&mut rest)? {
        frames.push(frame);
    }
    Ok(Leftover { chain, frames, path })
}

fn encode(group: &Group) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; FRAME_HEAD];
    frame.extend_from_slice(&group.number.to_le_bytes());
    serde_json::to_writer(&mut frame, &ContentRef::of(group))?;
    let body = frame.get(FRAME_HEAD..).unwrap_or_default();
    let length = u32::try_from(body.len()).ok().filter(|n| *n <= MAX_FRAME);
    let length = length.ok_or_else(|| invalid("the group is too large"))?;
    let sum = crc32fast::hash(body);
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame[4..FRAME_HEAD].copy_from_slice(&sum.to_le_bytes());
    Ok(frame)
}

/// The next frame and its length; `None` at the end, also when the last frame is cut short.
fn read_frame(from: &mut impl Read) -> io::Result<Option<(Frame, u64)>> {
    let mut head = [0; FRAME_HEAD];
    if !read_whole(from, &mut head)? {
        return Ok(None);
    }
    let [a, b, c, d, e, f, g, h] = head;
    let (length, sum) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    if !(8..=MAX_FRAME).contains(&length) {
        return Ok(None);
    }
    let mut body = vec![0; length as usize];
    if !read_whole(from, &mut body)? || crc32fast::hash(&body) != sum {
        return Ok(None);
    }
    let (number, content) = body.split_at(8);
    let number = i64::from_le_bytes(number.try_into().map_err(|_| invalid("a frame without a number"))?);
    let frame = Frame { number, content: serde_json::from_slice(content)? };
    Ok(Some((frame, u64::from(length) + FRAME_HEAD as u64)))
}

fn read_whole(from: &mut impl Read, into: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(into) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Makes creation and removal of files in the folder durable.
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests;
