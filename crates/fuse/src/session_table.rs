//! What the next process needs to go on with the connection of this one: inodes and handles that the kernel knows.
//!
//! It is in shared memory that outlives the process, and is brought up to date before the kernel is answered: it may
//! say more than the kernel knows, never less. Each slot becomes valid, and free, by one store.
//!
//! The memory is reserved for many more inodes and handles than there usually are; what was never used costs nothing.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use parking_lot::Mutex;

/// What the first word says: the layout below.
const LAYOUT: u64 = u64::from_le_bytes(*b"session1");

const HEADER: usize = 4096;
/// An inode: number, backing id, flags, length of the name, name.
const INODE: usize = 320;
const INODES: usize = 1 << 19;
const NAME: usize = INODE - 24;
/// A handle: number, inode, unique number of the request that opened it, flags.
const HANDLE: usize = 32;
const HANDLES: usize = 1 << 21;
const SIZE: usize = HEADER + INODES * INODE + HANDLES * HANDLE;

/// Offsets in the header.
const NEXT_INO: usize = 8;
const NEXT_HANDLE: usize = 16;
const USED_INODES: usize = 24;
const USED_HANDLES: usize = 28;
const INIT_LENGTH: usize = 32;
const INIT: usize = 64;
const INIT_LONGEST: usize = 1024;

/// Flags.
const UNLINKED: u32 = 1;
const OWN: u32 = 1;
const PASSTHROUGH: u32 = 2;

/// A place in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// An inode, as an earlier process left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SavedInode {
    pub(crate) slot: Slot,
    pub(crate) ino: u64,
    pub(crate) name: String,
    pub(crate) unlinked: bool,
    /// The number under which the kernel knows the backing file.
    pub(crate) backing: Option<u32>,
}

/// A handle, as an earlier process left it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SavedHandle {
    pub(crate) slot: Slot,
    pub(crate) number: u64,
    pub(crate) ino: u64,
    /// Of the request that opened it.
    pub(crate) unique: u64,
    pub(crate) own: bool,
    pub(crate) passthrough: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct SessionTable {
    file: OwnedFd,
    memory: NonNull<u8>,
    /// Slots that were used and are free again: inodes, handles.
    free: Mutex<[Vec<u32>; 2]>,
}

// SAFETY: the memory is used through atomics, or by whoever took the slot out of `free`, and is unmapped on drop.
unsafe impl Send for SessionTable {}
// SAFETY: see above.
unsafe impl Sync for SessionTable {}

impl SessionTable {
    /// An empty one.
    pub(crate) fn create() -> io::Result<SessionTable> {
        let file = memfd_create(c"litefs-session", MFdFlags::MFD_CLOEXEC)?;
        nix::unistd::ftruncate(&file, SIZE as libc::off_t)?;
        let table = SessionTable::map(file)?;
        // Number 1 is the root's.
        table.u64(NEXT_INO).store(2, Ordering::Relaxed);
        table.u64(NEXT_HANDLE).store(1, Ordering::Relaxed);
        table.u64(0).store(LAYOUT, Ordering::Release);
        Ok(table)
    }

    /// That of another process.
    pub(crate) fn open(file: OwnedFd) -> io::Result<SessionTable> {
        if nix::sys::stat::fstat(&file)?.st_size != SIZE as libc::off_t {
            return Err(io::Error::other("a session of another version"));
        }
        let table = SessionTable::map(file)?;
        if table.u64(0).load(Ordering::Acquire) != LAYOUT {
            return Err(io::Error::other("a session of another version"));
        }
        Ok(table)
    }

    fn map(file: OwnedFd) -> io::Result<SessionTable> {
        let size = std::num::NonZeroUsize::new(SIZE).ok_or(io::ErrorKind::InvalidInput)?;
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping of a file that is this long, at an address that the kernel chooses.
        let memory = unsafe { mmap(None, size, protection, MapFlags::MAP_SHARED, &file, 0) }?;
        Ok(SessionTable {
            file,
            memory: memory.cast(),
            free: Mutex::default(),
        })
    }

    fn u64(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8) && offset + 8 <= SIZE);
        // SAFETY: aligned and within the mapping, which lives as long as `self`; words are only used as atomics.
        unsafe { AtomicU64::from_ptr(self.memory.as_ptr().add(offset).cast()) }
    }

    fn u32(&self, offset: usize) -> &AtomicU32 {
        debug_assert!(offset.is_multiple_of(4) && offset + 4 <= SIZE);
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(self.memory.as_ptr().add(offset).cast()) }
    }

    fn write_bytes(&self, offset: usize, bytes: &[u8]) {
        debug_assert!(offset + bytes.len() <= SIZE);
        // SAFETY: within the mapping, and nobody reads these bytes before the store that makes them valid.
        unsafe {
            std::ptr::copy_nonoverlapping(
                bytes.as_ptr(),
                self.memory.as_ptr().add(offset),
                bytes.len(),
            );
        }
    }

    fn read_bytes(&self, offset: usize, length: usize) -> Vec<u8> {
        debug_assert!(offset + length <= SIZE);
        let mut bytes = vec![0; length];
        // SAFETY: within the mapping, and these bytes were made valid before and are not written again meanwhile.
        unsafe {
            std::ptr::copy_nonoverlapping(
                self.memory.as_ptr().add(offset),
                bytes.as_mut_ptr(),
                length,
            );
        }
        bytes
    }

    /// Keeps the first request of the connection, with which each process begins.
    pub(crate) fn set_init(&self, request: &[u8]) {
        let request = &request[..request.len().min(INIT_LONGEST)];
        self.write_bytes(INIT, request);
        let length = request.len() as u32;
        self.u32(INIT_LENGTH).store(length, Ordering::Release);
    }

    /// That request.
    pub(crate) fn init(&self) -> Vec<u8> {
        let length = self.u32(INIT_LENGTH).load(Ordering::Acquire) as usize;
        self.read_bytes(INIT, length.min(INIT_LONGEST))
    }

    /// A number that no inode of the connection ever had.
    pub(crate) fn next_ino(&self) -> u64 {
        self.u64(NEXT_INO).fetch_add(1, Ordering::Relaxed)
    }

    /// A number that no handle of the connection ever had.
    pub(crate) fn next_handle(&self) -> u64 {
        self.u64(NEXT_HANDLE).fetch_add(1, Ordering::Relaxed)
    }

    /// `None` if there is no room: a later process will not know it.
    fn take_slot(&self, which: usize, used: usize, most: usize) -> Option<u32> {
        if let Some(slot) = self.free.lock()[which].pop() {
            return Some(slot);
        }
        let took = self
            .u32(used)
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |used| {
                ((used as usize) < most).then(|| used + 1)
            });
        took.ok()
    }

    /// Notes an inode, before the kernel hears of it.
    pub(crate) fn add_inode(&self, ino: u64, name: &str) -> Option<Slot> {
        if name.len() > NAME {
            return None;
        }
        let slot = self.take_slot(0, USED_INODES, INODES)?;
        let at = inode_at(slot);
        self.u32(at + 8).store(0, Ordering::Relaxed);
        self.u32(at + 12).store(0, Ordering::Relaxed);
        let length = name.len() as u32;
        self.u32(at + 16).store(length, Ordering::Relaxed);
        self.write_bytes(at + 24, name.as_bytes());
        self.u64(at).store(ino, Ordering::Release);
        Some(Slot(slot))
    }

    /// Notes the number of its backing file, or that there is none any more.
    pub(crate) fn set_backing(&self, slot: Option<Slot>, backing: Option<u32>) {
        if let Some(Slot(slot)) = slot {
            let raw = backing.map_or(0, |id| id + 1);
            self.u32(inode_at(slot) + 8).store(raw, Ordering::Release);
        }
    }

    /// Notes that the name is gone.
    pub(crate) fn set_unlinked(&self, slot: Option<Slot>) {
        if let Some(Slot(slot)) = slot {
            let flags = self.u32(inode_at(slot) + 12);
            flags.fetch_or(UNLINKED, Ordering::AcqRel);
        }
    }

    /// Forgets an inode.
    pub(crate) fn remove_inode(&self, slot: Option<Slot>) {
        if let Some(Slot(slot)) = slot {
            self.u64(inode_at(slot)).store(0, Ordering::Release);
            self.free.lock()[0].push(slot);
        }
    }

    /// Notes a handle, before the kernel hears of it.
    pub(crate) fn add_handle(
        &self,
        number: u64,
        ino: u64,
        unique: u64,
        own: bool,
        passthrough: bool,
    ) -> Option<Slot> {
        let slot = self.take_slot(1, USED_HANDLES, HANDLES)?;
        let at = handle_at(slot);
        let flags = (u32::from(own) * OWN) | (u32::from(passthrough) * PASSTHROUGH);
        self.u64(at + 8).store(ino, Ordering::Relaxed);
        self.u64(at + 16).store(unique, Ordering::Relaxed);
        self.u32(at + 24).store(flags, Ordering::Relaxed);
        self.u64(at).store(number, Ordering::Release);
        Some(Slot(slot))
    }

    /// Forgets a handle.
    pub(crate) fn remove_handle(&self, slot: Option<Slot>) {
        if let Some(Slot(slot)) = slot {
            self.u64(handle_at(slot)).store(0, Ordering::Release);
            self.free.lock()[1].push(slot);
        }
    }

    /// What an earlier process left. To be called once, before anything is added: slots that are not used are found
    /// here.
    pub(crate) fn restore(&self) -> (Vec<SavedInode>, Vec<SavedHandle>) {
        let mut free = self.free.lock();
        let (mut inodes, mut handles) = (Vec::new(), Vec::new());
        let used = |offset, most| (self.u32(offset).load(Ordering::Acquire) as usize).min(most);
        for slot in 0..used(USED_INODES, INODES) as u32 {
            match self.saved_inode(slot) {
                Some(inode) => inodes.push(inode),
                None => free[0].push(slot),
            }
        }
        for slot in 0..used(USED_HANDLES, HANDLES) as u32 {
            let at = handle_at(slot);
            let number = self.u64(at).load(Ordering::Acquire);
            if number == 0 {
                free[1].push(slot);
                continue;
            }
            let flags = self.u32(at + 24).load(Ordering::Relaxed);
            handles.push(SavedHandle {
                slot: Slot(slot),
                number,
                ino: self.u64(at + 8).load(Ordering::Relaxed),
                unique: self.u64(at + 16).load(Ordering::Relaxed),
                own: flags & OWN != 0,
                passthrough: flags & PASSTHROUGH != 0,
            });
        }
        (inodes, handles)
    }

    fn saved_inode(&self, slot: u32) -> Option<SavedInode> {
        let at = inode_at(slot);
        let ino = self.u64(at).load(Ordering::Acquire);
        let length = self.u32(at + 16).load(Ordering::Relaxed) as usize;
        if ino == 0 || length > NAME {
            return None;
        }
        Some(SavedInode {
            slot: Slot(slot),
            ino,
            name: String::from_utf8(self.read_bytes(at + 24, length)).ok()?,
            unlinked: self.u32(at + 12).load(Ordering::Relaxed) & UNLINKED != 0,
            backing: self.u32(at + 8).load(Ordering::Relaxed).checked_sub(1),
        })
    }
}

impl AsFd for SessionTable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for SessionTable {
    fn drop(&mut self) {
        // SAFETY: mapped by `SessionTable::map` with this size, and nothing refers to it any more.
        let _ = unsafe { munmap(self.memory.cast(), SIZE) };
    }
}

fn inode_at(slot: u32) -> usize {
    HEADER + slot as usize * INODE
}

fn handle_at(slot: u32) -> usize {
    HEADER + INODES * INODE + slot as usize * HANDLE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn successor(table: &SessionTable) -> SessionTable {
        SessionTable::open(table.as_fd().try_clone_to_owned().unwrap()).unwrap()
    }

    #[test]
    fn a_successor_finds_what_was_noted_and_not_what_was_forgotten() {
        let table = SessionTable::create().unwrap();
        table.set_init(b"init");
        let (ino, gone) = (table.next_ino(), table.next_ino());
        let app = table.add_inode(ino, "app-wal");
        let old = table.add_inode(gone, "old");
        table.set_backing(app, Some(0));
        table.set_unlinked(old);
        let first = table.add_handle(table.next_handle(), ino, 77, false, true);
        let second = table.add_handle(table.next_handle(), ino, 78, true, false);
        table.remove_handle(first);

        let next = successor(&table);
        assert_eq!(next.init(), b"init");
        let (inodes, handles) = next.restore();
        let names: Vec<_> = inodes.iter().map(|inode| inode.name.as_str()).collect();
        assert_eq!(names, ["app-wal", "old"]);
        assert_eq!((inodes[0].ino, inodes[0].backing), (2, Some(0)));
        assert!(!inodes[0].unlinked && inodes[1].unlinked);
        let expected = SavedHandle {
            slot: second.unwrap(),
            number: 2,
            ino: 2,
            unique: 78,
            own: true,
            passthrough: false,
        };
        assert_eq!(handles, [expected]);
        // Numbers go on, free slots are used again.
        assert_eq!((next.next_ino(), next.next_handle()), (4, 3));
        next.remove_inode(Some(inodes[1].slot));
        assert_eq!(next.add_inode(4, "new"), Some(inodes[1].slot));
        assert_eq!(next.add_handle(3, 4, 79, false, false), first);
    }

    #[test]
    fn something_else_is_refused() {
        let file = memfd_create(c"other", MFdFlags::MFD_CLOEXEC).unwrap();
        assert!(SessionTable::open(file.try_clone().unwrap()).is_err());
        nix::unistd::ftruncate(&file, SIZE as libc::off_t).unwrap();
        assert!(SessionTable::open(file).is_err());
    }
}
