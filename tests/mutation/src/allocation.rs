//! How much memory something takes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which counts what each thread asks for. A test program makes it its `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

#[derive(Clone, Copy, Default)]
struct Count {
    allocations: usize,
    live: isize,
    peak: isize,
}

thread_local! {
    static COUNT: Cell<Count> = const { Cell::new(Count { allocations: 0, live: 0, peak: 0 }) };
}

fn count(bytes: isize) {
    // The allocator also serves threads that are ending, when there is nothing left to count in.
    let _ = COUNT.try_with(|cell| {
        let mut count = cell.get();
        count.allocations += usize::from(bytes > 0);
        count.live += bytes;
        count.peak = count.peak.max(count.live);
        cell.set(count);
    });
}

// SAFETY: every method passes its arguments on to `System` unchanged and returns what that returns; counting neither
// allocates nor unwinds.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`, which is that of `System::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `memory` came from `alloc` or `realloc` above with this layout, so from `System`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize);
        count(-(layout.size() as isize));
        // SAFETY: `memory` came from `alloc` or `realloc` above with this layout, so from `System`.
        unsafe { System.realloc(memory, layout, size) }
    }
}

/// What something took, on its own thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// How often it asked for memory.
    pub allocations: usize,
    /// The most bytes that it held at once.
    pub peak: usize,
}

/// Runs `f` and measures it. Zeros where [`Counting`] is not the allocator.
pub fn measure<T>(f: impl FnOnce() -> T) -> (Measured, T) {
    let before = COUNT.replace(Count::default());
    let result = f();
    let count = COUNT.replace(before);
    let measured = Measured {
        allocations: count.allocations,
        peak: count.peak.max(0).cast_unsigned(),
    };
    (measured, result)
}
