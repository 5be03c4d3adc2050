//! Files and directories in memory, and what a loss of power leaves of them.
//!
//! A file's bytes are durable up to where it was last synced; of those behind, any first part may survive. A name is durable
//! when its directory was synced after it came, went or changed; of the changes since, some may survive, but in the order in
//! which they happened in each directory, and a rename as a whole, as file systems with a journal have it. A synced file
//! without a durable name is lost.

use std::collections::{BTreeMap, BTreeSet};

use rustix::io::Errno;

/// How much of what was not durable survives a loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// None.
    Nothing,
    /// As the seed says.
    Some,
    /// All: as if only the process had ended.
    Everything,
}

/// A loss of power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Decides what survives where some does.
    pub seed: u64,
    /// Bytes of files.
    pub bytes: Kept,
    /// Names in directories.
    pub names: Kept,
}

impl Loss {
    /// The worst case.
    pub const TOTAL: Self = Self { seed: 0, bytes: Kept::Nothing, names: Kept::Nothing };

    /// One as the seed says.
    pub fn of(seed: u64) -> Self {
        let kept = |what| match draw(seed, what) % 4 {
            0 => Kept::Nothing,
            1 => Kept::Everything,
            _ => Kept::Some,
        };
        Self { seed, bytes: kept("bytes"), names: kept("names") }
    }

    fn keeps_name(&self, change: &Change) -> bool {
        match self.names {
            Kept::Nothing => false,
            Kept::Everything => true,
            // A mere removal survives only with what came after it: RocksDB removes files in threads of its own, and
            // what survives must not depend on when.
            Kept::Some => {
                change.edits.iter().any(|edit| edit.to.is_some() && draw(self.seed, &edit.name).is_multiple_of(2))
            }
        }
    }

    fn kept_bytes(&self, path: &str, unsynced: usize) -> usize {
        match self.bytes {
            Kept::Nothing => 0,
            Kept::Everything => unsynced,
            Kept::Some => (draw(self.seed, path) % (unsynced as u64 + 1)) as usize,
        }
    }
}

/// A number that depends on the seed and the text alone: who asks first does not matter.
fn draw(seed: u64, text: &str) -> u64 {
    let mut state = seed ^ 0x9e37_79b9_7f4a_7c15;
    for byte in text.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct NodeId(u64);

const ROOT: NodeId = NodeId(0);

#[derive(Debug)]
enum Node {
    File(FileNode),
    Directory(Directory),
}

#[derive(Debug, Default)]
struct FileNode {
    content: Vec<u8>,
    /// Invariant: at most the content's length.
    synced: usize,
    /// A sync failed: what it covered will never be durable, though later syncs say so (Linux drops the pages).
    distrusted: bool,
}

#[derive(Debug, Default)]
struct Directory {
    live: BTreeMap<String, NodeId>,
    durable: BTreeMap<String, NodeId>,
}

/// A change of names that happens whole or not at all.
#[derive(Debug)]
struct Change {
    edits: Vec<Edit>,
}

#[derive(Debug)]
struct Edit {
    directory: NodeId,
    name: String,
    /// `None` where the name goes.
    to: Option<NodeId>,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Read,
    Create,
    Append,
}

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stat {
    pub node: NodeId,
    pub is_directory: bool,
    pub bytes: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next: u64,
    /// Changes of names that are not durable, oldest first.
    pending: Vec<Change>,
}

impl Tree {
    pub(crate) fn new() -> Self {
        Self { nodes: BTreeMap::from([(ROOT, Node::Directory(Directory::default()))]), next: 1, pending: Vec::new() }
    }

    pub(crate) fn stat(&self, path: &str) -> Result<Stat, Errno> {
        let mut node = ROOT;
        for part in parts(path) {
            node = *self.directory(node)?.live.get(part).ok_or(Errno::NOENT)?;
        }
        Ok(match &self.nodes[&node] {
            Node::File(file) => Stat { node, is_directory: false, bytes: file.content.len() },
            Node::Directory(_) => Stat { node, is_directory: true, bytes: 0 },
        })
    }

    pub(crate) fn names(&self, path: &str) -> Result<Vec<String>, Errno> {
        Ok(self.directory(self.stat(path)?.node)?.live.keys().cloned().collect())
    }

    /// Names that lead to a file.
    pub(crate) fn links(&self, node: NodeId) -> usize {
        let names = |stored: &Node| match stored {
            Node::Directory(directory) => directory.live.values().filter(|to| **to == node).count(),
            Node::File(_) => 0,
        };
        self.nodes.values().map(names).sum()
    }

    pub(crate) fn open(&mut self, path: &str, mode: Mode) -> Result<NodeId, Errno> {
        match self.stat(path) {
            Ok(Stat { is_directory: true, .. }) => Err(Errno::ISDIR),
            Ok(Stat { node, .. }) => {
                if mode == Mode::Create {
                    self.truncate(node, 0)?;
                }
                Ok(node)
            }
            Err(Errno::NOENT) if mode != Mode::Read => self.add(path, Node::File(FileNode::default())),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn content(&self, node: NodeId) -> Result<&[u8], Errno> {
        match self.nodes.get(&node) {
            Some(Node::File(file)) => Ok(&file.content),
            Some(Node::Directory(_)) => Err(Errno::ISDIR),
            None => Err(Errno::BADF),
        }
    }

    pub(crate) fn append(&mut self, node: NodeId, content: &[u8]) -> Result<(), Errno> {
        self.file(node)?.content.extend_from_slice(content);
        Ok(())
    }

    pub(crate) fn truncate(&mut self, node: NodeId, length: usize) -> Result<(), Errno> {
        let file = self.file(node)?;
        file.content.resize(length, 0);
        file.synced = file.synced.min(length);
        Ok(())
    }

    pub(crate) fn sync(&mut self, node: NodeId) -> Result<(), Errno> {
        let file = self.file(node)?;
        if !file.distrusted {
            file.synced = file.content.len();
        }
        Ok(())
    }

    /// A sync fails: what is not durable yet never will be.
    pub(crate) fn fail_sync(&mut self, node: NodeId) -> Result<(), Errno> {
        self.file(node)?.distrusted = true;
        Ok(())
    }

    pub(crate) fn flip_bit(&mut self, path: &str, bit: usize) -> Result<(), Errno> {
        let node = self.stat(path)?.node;
        let byte = self.file(node)?.content.get_mut(bit / 8).ok_or(Errno::INVAL)?;
        *byte ^= 1 << (bit % 8);
        Ok(())
    }

    pub(crate) fn make_directory(&mut self, path: &str) -> Result<(), Errno> {
        match self.stat(path) {
            Ok(_) => Err(Errno::EXIST),
            Err(Errno::NOENT) => self.add(path, Node::Directory(Directory::default())).map(|_| ()),
            Err(error) => Err(error),
        }
    }

    pub(crate) fn remove_file(&mut self, path: &str) -> Result<(), Errno> {
        if self.stat(path)?.is_directory {
            return Err(Errno::ISDIR);
        }
        let edit = self.edit(path, None)?;
        self.change(vec![edit])
    }

    /// Removes a directory without names.
    pub(crate) fn remove_directory(&mut self, path: &str) -> Result<(), Errno> {
        if !self.names(path)?.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        let edit = self.edit(path, None)?;
        self.change(vec![edit])
    }

    pub(crate) fn link(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let from = self.stat(from)?;
        if from.is_directory {
            return Err(Errno::PERM);
        }
        if self.stat(to).is_ok() {
            return Err(Errno::EXIST);
        }
        let edit = self.edit(to, Some(from.node))?;
        self.change(vec![edit])
    }

    /// Moves; a file may be in its place.
    pub(crate) fn rename(&mut self, from: &str, to: &str) -> Result<(), Errno> {
        let moved = self.stat(from)?;
        match self.stat(to) {
            Ok(found) if found.is_directory => return Err(Errno::EXIST),
            Ok(_) if moved.is_directory => return Err(Errno::NOTDIR),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
        let edits = vec![self.edit(from, None)?, self.edit(to, Some(moved.node))?];
        self.change(edits)
    }

    /// Makes the names in a directory durable, and what happened before in other directories together with them.
    pub(crate) fn sync_directory(&mut self, path: &str) -> Result<(), Errno> {
        let node = self.stat(path)?.node;
        self.directory(node)?;
        let pending = std::mem::take(&mut self.pending);
        let mut needed = BTreeSet::from([node]);
        let mut is_durable: Vec<bool> = pending.iter().rev().map(|change| change.joins(&mut needed)).collect();
        is_durable.reverse();
        for (change, is_durable) in pending.into_iter().zip(is_durable) {
            if is_durable {
                self.make_durable(change);
            } else {
                self.pending.push(change);
            }
        }
        Ok(())
    }

    /// The power fails: what was not durable is lost, but for what `loss` keeps.
    pub(crate) fn lose_power(&mut self, loss: &Loss) {
        let pending = std::mem::take(&mut self.pending);
        let mut needed = BTreeSet::new();
        let mut survives: Vec<bool> = Vec::with_capacity(pending.len());
        for change in pending.iter().rev() {
            let joins = change.joins(&mut needed);
            if !joins && loss.keeps_name(change) {
                needed.extend(change.edits.iter().map(|edit| edit.directory));
            }
            survives.push(joins || loss.keeps_name(change));
        }
        survives.reverse();
        for (change, _) in pending.into_iter().zip(survives).filter(|(_, survives)| *survives) {
            self.make_durable(change);
        }
        let mut found = BTreeMap::new();
        self.find_durable(ROOT, String::new(), &mut found);
        self.nodes.retain(|node, _| found.contains_key(node));
        for (node, path) in found {
            match self.nodes.get_mut(&node) {
                Some(Node::Directory(directory)) => directory.live = directory.durable.clone(),
                Some(Node::File(file)) => {
                    let unsynced = file.content.len() - file.synced;
                    let kept = if file.distrusted { 0 } else { loss.kept_bytes(&path, unsynced) };
                    file.content.truncate(file.synced + kept);
                    (file.synced, file.distrusted) = (file.content.len(), false);
                }
                None => {}
            }
        }
    }

    /// Every file by its path.
    pub(crate) fn files(&self) -> Vec<(String, usize)> {
        let mut found = Vec::new();
        let mut open = vec![(ROOT, String::new())];
        while let Some((node, path)) = open.pop() {
            match &self.nodes[&node] {
                Node::File(file) => found.push((path, file.content.len())),
                Node::Directory(directory) => {
                    open.extend(directory.live.iter().map(|(name, to)| (*to, format!("{path}/{name}"))));
                }
            }
        }
        found.sort();
        found
    }

    fn find_durable(&self, node: NodeId, path: String, found: &mut BTreeMap<NodeId, String>) {
        if found.contains_key(&node) {
            return;
        }
        if let Node::Directory(directory) = &self.nodes[&node] {
            for (name, to) in &directory.durable {
                self.find_durable(*to, format!("{path}/{name}"), found);
            }
        }
        found.insert(node, path);
    }

    fn make_durable(&mut self, change: Change) {
        for Edit { directory, name, to } in change.edits {
            if let Some(Node::Directory(directory)) = self.nodes.get_mut(&directory) {
                set(&mut directory.durable, name, to);
            }
        }
    }

    fn add(&mut self, path: &str, node: Node) -> Result<NodeId, Errno> {
        let id = NodeId(self.next);
        let edit = self.edit(path, Some(id))?;
        self.next += 1;
        self.nodes.insert(id, node);
        self.change(vec![edit])?;
        Ok(id)
    }

    fn edit(&self, path: &str, to: Option<NodeId>) -> Result<Edit, Errno> {
        let mut parts: Vec<&str> = parts(path).collect();
        let name = parts.pop().ok_or(Errno::INVAL)?.to_owned();
        let mut directory = ROOT;
        for part in parts {
            directory = *self.directory(directory)?.live.get(part).ok_or(Errno::NOENT)?;
        }
        self.directory(directory)?;
        Ok(Edit { directory, name, to })
    }

    fn change(&mut self, edits: Vec<Edit>) -> Result<(), Errno> {
        for Edit { directory, name, to } in &edits {
            let Some(Node::Directory(directory)) = self.nodes.get_mut(directory) else { return Err(Errno::NOTDIR) };
            set(&mut directory.live, name.clone(), *to);
        }
        self.pending.push(Change { edits });
        Ok(())
    }

    fn directory(&self, node: NodeId) -> Result<&Directory, Errno> {
        match self.nodes.get(&node) {
            Some(Node::Directory(directory)) => Ok(directory),
            Some(Node::File(_)) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    fn file(&mut self, node: NodeId) -> Result<&mut FileNode, Errno> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Directory(_)) => Err(Errno::ISDIR),
            None => Err(Errno::BADF),
        }
    }
}

impl Change {
    /// Whether the change touches one of the directories; if so all that it touches are among them afterwards.
    fn joins(&self, directories: &mut BTreeSet<NodeId>) -> bool {
        let joins = self.edits.iter().any(|edit| directories.contains(&edit.directory));
        if joins {
            directories.extend(self.edits.iter().map(|edit| edit.directory));
        }
        joins
    }
}

fn set(names: &mut BTreeMap<String, NodeId>, name: String, to: Option<NodeId>) {
    match to {
        Some(node) => names.insert(name, node),
        None => names.remove(&name),
    };
}

fn parts(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests;
