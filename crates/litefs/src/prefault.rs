//! The buffers of the threads that serve the mount are in memory before anything depends on them.
//!
//! Whoever unmaps a file of the mount that is cached, as this process does with a -shm, keeps the lock on the process's
//! memory until the kernel has had an answer to what it writes then. The thread that could give it waits for that lock
//! if it reads the request into memory that it has never touched. The library allocates the buffers, each far larger
//! than what it is for; nothing else in this program allocates so much at once.

use std::alloc::{GlobalAlloc, Layout, System};

/// Allocations from here on are buffers for requests, in bytes.
const BUFFER: usize = 8 * 1024 * 1024;

/// The longest request: a WRITE of 1 MiB, and its headers.
const REQUEST: usize = 1024 * 1024 + 64 * 1024;

const PAGE: usize = 4096;

/// The system's allocator, with the beginning of large pieces touched.
pub(crate) struct Allocator;

fn touch(memory: *mut u8, size: usize) {
    if memory.is_null() || size < BUFFER {
        return;
    }
    for offset in (0..REQUEST).step_by(PAGE) {
        // SAFETY: within a piece that was just allocated and that nobody else knows; what is written is what is there, or
        // anything if it was not zeroed.
        unsafe { memory.add(offset).write_volatile(0) };
    }
}

// SAFETY: all of it is the system's allocator; new memory is only written to.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the rules of `alloc`.
        let memory = unsafe { System.alloc(layout) };
        touch(memory, layout.size());
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the rules of `alloc_zeroed`.
        let memory = unsafe { System.alloc_zeroed(layout) };
        touch(memory, layout.size());
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the rules of `realloc`.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the rules of `dealloc`.
        unsafe { System.dealloc(memory, layout) };
    }
}
