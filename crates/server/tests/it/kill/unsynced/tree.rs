//! Files and folders in memory, each twice: as they are, and as they would be found after the power was lost.
//!
//! As on a journalling file system: a sync makes the contents of its file durable, and with them all names.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    ops::Range,
};

/// The number of the root.
pub const ROOT: u64 = 1;

/// What a number stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Folder,
    File,
    Socket,
}

/// A file, folder or socket.
#[derive(Debug, Clone)]
pub struct Node {
    pub kind: Kind,
    pub mode: u16,
    pub content: Vec<u8>,
    /// The content at the last sync.
    synced: Vec<u8>,
    /// Where the two may differ; never empty when their sizes do.
    dirty: Vec<Range<usize>>,
}

type Names = BTreeMap<OsString, u64>;

/// Everything on the disk.
#[derive(Debug)]
pub struct Tree {
    nodes: HashMap<u64, Node>,
    folders: HashMap<u64, Names>,
    /// The folders at the last sync of anything.
    synced_folders: HashMap<u64, Names>,
    next: u64,
}

impl Tree {
    pub fn new() -> Self {
        let root = Node::new(Kind::Folder, 0o700);
        let folders = HashMap::from([(ROOT, Names::new())]);
        Self { nodes: HashMap::from([(ROOT, root)]), synced_folders: folders.clone(), folders, next: ROOT }
    }

    pub fn node(&mut self, number: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&number)
    }

    pub fn find(&self, folder: u64, name: &OsStr) -> Option<u64> {
        self.folders.get(&folder)?.get(name).copied()
    }

    pub fn names(&self, folder: u64) -> Vec<(OsString, u64, Kind)> {
        let names = self.folders.get(&folder).into_iter().flatten();
        names.map(|(name, number)| (name.clone(), *number, self.nodes[number].kind)).collect()
    }

    /// Makes something; its number.
    pub fn make(&mut self, folder: u64, name: &OsStr, kind: Kind, mode: u32) -> Option<u64> {
        let number = self.next + 1;
        self.folders.get_mut(&folder)?.insert(name.to_owned(), number);
        self.next = number;
        self.nodes.insert(number, Node::new(kind, mode));
        if kind == Kind::Folder {
            self.folders.insert(number, Names::new());
        }
        Some(number)
    }

    /// Gives a second name to something.
    pub fn link(&mut self, number: u64, folder: u64, name: &OsStr) -> Option<u64> {
        self.folders.get_mut(&folder)?.insert(name.to_owned(), number);
        Some(number)
    }

    /// Takes a name away. What it stood for stays for those who have it open.
    pub fn unname(&mut self, folder: u64, name: &OsStr) -> Option<u64> {
        self.folders.get_mut(&folder)?.remove(name)
    }

    pub fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Option<()> {
        let number = self.unname(from.0, from.1)?;
        self.folders.get_mut(&to.0)?.insert(to.1.to_owned(), number);
        Some(())
    }

    /// Makes a file's content and all names durable.
    pub fn sync(&mut self, number: u64) {
        self.synced_folders.clone_from(&self.folders);
        if let Some(node) = self.nodes.get_mut(&number)
            && !node.dirty.is_empty()
        {
            node.synced.resize(node.content.len(), 0);
            for range in std::mem::take(&mut node.dirty) {
                let range = range.start.min(node.content.len())..range.end.min(node.content.len());
                node.synced[range.clone()].copy_from_slice(&node.content[range]);
            }
        }
    }

    /// The power is gone: what was not synced never was. How many bytes that changed.
    pub fn lose(&mut self) -> usize {
        let mut lost = 0;
        for node in self.nodes.values_mut().filter(|node| !node.dirty.is_empty()) {
            let same = node.content.iter().zip(&node.synced).filter(|(a, b)| a == b).count();
            lost += node.content.len().max(node.synced.len()) - same;
            node.content.clone_from(&node.synced);
            node.dirty.clear();
        }
        self.folders.clone_from(&self.synced_folders);
        lost
    }
}

impl Node {
    const fn new(kind: Kind, mode: u32) -> Self {
        let mode = (mode & 0o7777) as u16;
        Self { kind, mode, content: Vec::new(), synced: Vec::new(), dirty: Vec::new() }
    }

    pub fn read(&self, offset: u64, size: u32) -> &[u8] {
        let from = usize::try_from(offset).unwrap().min(self.content.len());
        let to = from.saturating_add(size as usize).min(self.content.len());
        &self.content[from..to]
    }

    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        let from = usize::try_from(offset).unwrap();
        let end = from + bytes.len();
        // What lies between the old end and the new bytes is zeros.
        self.dirty.push(from.min(self.content.len())..end);
        if self.content.len() < end {
            self.content.resize(end, 0);
        }
        self.content[from..end].copy_from_slice(bytes);
    }

    pub fn resize(&mut self, size: u64) {
        let size = usize::try_from(size).unwrap();
        self.dirty.push(self.content.len().min(size)..size);
        self.content.resize(size, 0);
    }
}

#[test]
fn what_was_not_synced_is_forgotten_and_the_rest_is_not() {
    let mut tree = Tree::new();
    let [kept, changed] =
        ["kept", "changed"].map(|name| tree.make(ROOT, OsStr::new(name), Kind::File, 0o600).unwrap());
    tree.node(kept).unwrap().write(0, b"abc");
    tree.node(changed).unwrap().write(0, b"abc");
    tree.sync(kept);
    tree.make(ROOT, OsStr::new("new"), Kind::File, 0o600);
    tree.rename((ROOT, OsStr::new("kept")), (ROOT, OsStr::new("moved")));
    assert_eq!(tree.lose(), 3);
    assert_eq!(tree.names(ROOT).len(), 2);
    assert_eq!(tree.find(ROOT, OsStr::new("kept")), Some(kept));
    assert_eq!(tree.node(kept).unwrap().read(1, 9), b"bc");
    tree.node(kept).unwrap().resize(1);
    tree.node(kept).unwrap().write(2, b"z");
    tree.sync(kept);
    tree.node(kept).unwrap().resize(0);
    tree.lose();
    assert_eq!(tree.node(kept).unwrap().read(0, 9), b"a\0z");
    assert_eq!(tree.node(changed).unwrap().read(0, 9), b"");
}
