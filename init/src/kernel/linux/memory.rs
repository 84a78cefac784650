//! The heap of the static programs: blocks of powers of two, taken off a piece of memory that is there from the start, and kept in
//! lists by size when they are given back. Big blocks are mappings of their own and go back to the kernel.
//!
//! It takes the place of the C library's allocator, for the library's own calls and libblkid's too. That one keeps its books to
//! withstand programs that write where they should not; it is three hundred blocks of code that run once, and its calls for memory
//! are as many in the kernel. Init lives for less than a second, or, as a supervisor, allocates next to nothing.

use std::{
    ffi::c_void,
    ptr,
    sync::{Mutex, PoisonError},
};

/// Bytes in front of each block, which hold its length, these included. Blocks start at multiples of it, as much as C wants for any type. In
/// front of memory with a larger alignment, which starts inside a block: its distance from the block's own memory, and [`INSIDE`].
const HEADER: usize = 16;

/// The bit that no length and no distance has, as both are multiples of [`HEADER`].
const INSIDE: usize = 1;

/// The smallest block, and the first list.
const SMALLEST: usize = 32;

/// The length from which on a block is a mapping of its own.
const BIG: usize = 256 << 10;

/// A list for each power of two from [`SMALLEST`] to below [`BIG`].
const LISTS: usize = (BIG / SMALLEST).trailing_zeros() as usize;

/// Up to this length clearing costs less than asking whether it is needed.
const LITTLE: usize = 4096;

/// The smallest page of any processor.
const PAGE: usize = 4096;

/// The memory that blocks are taken from first; what is not used costs nothing.
const START: usize = 512 << 10;

// Whole pages, so that what stands behind it shares its page with what the C library has written to before.
#[repr(C, align(4096))]
struct Start([u8; START]);

static mut START_MEMORY: Start = Start([0; START]);

/// A heap. All pointers that go in must have come out of it.
struct Heap {
    /// Blocks given back, by size: the first of each list. The place of the header's neighbour points to the next one.
    lists: [*mut u8; LISTS],
    /// The start of the memory that no block was taken from yet.
    rest: *mut u8,
    left: usize,
}

// SAFETY: it owns the memory it points to, and nothing of it belongs to a thread.
unsafe impl Send for Heap {}

static HEAP: Mutex<Heap> = Mutex::new(Heap { lists: [ptr::null_mut(); LISTS], rest: ptr::null_mut(), left: 0 });

/// Returns the length of the block for `size` bytes, header and all, and its list; none where it is a mapping.
fn class(size: usize) -> Option<(usize, Option<usize>)> {
    let whole = size.checked_add(HEADER)?.max(SMALLEST);
    if whole >= BIG {
        return Some((whole.checked_next_multiple_of(PAGE)?, None));
    }
    let whole = whole.next_power_of_two();
    let list = whole.trailing_zeros().checked_sub(SMALLEST.trailing_zeros())?;
    // The next power of two of what is just below BIG is BIG.
    usize::try_from(list).ok().map(|list| (whole, (list < LISTS).then_some(list)))
}

/// Returns a mapping of memory that nothing else has; null where there is none.
fn map(length: usize) -> *mut u8 {
    // SAFETY: no address is asked for, so nothing that is there is touched.
    let at = unsafe {
        libc::mmap(
            ptr::null_mut(),
            length,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if at == libc::MAP_FAILED { ptr::null_mut() } else { at.cast() }
}

impl Heap {
    /// Returns a block of `whole` bytes from the list or from what is left, and whether it was used before; null where the kernel has no
    /// more.
    fn take(&mut self, whole: usize, list: usize) -> (*mut u8, bool) {
        let Some(first) = self.lists.get_mut(list) else { return (ptr::null_mut(), false) };
        if !first.is_null() {
            let block = *first;
            // SAFETY: a block in a list is at least SMALLEST bytes, belongs to nobody and has the next one's address behind
            // its header, where `give` put it; blocks are aligned for a pointer.
            *first = unsafe { block.add(HEADER).cast::<*mut u8>().read() };
            return (block, true);
        }
        if self.left < whole {
            // What is left of the old piece is less than one block of this size, and is given up.
            let piece = if self.rest.is_null() { (&raw mut START_MEMORY).cast() } else { map(START) };
            if piece.is_null() {
                return (piece, false);
            }
            // Written to before anybody reads it: mount(2) copies a page of its options however short they are, and a page that was
            // only read is a copy of the page of zeros, which costs a second fault and a copy once it is written to.
            // SAFETY: the piece is the heap's and longer than that.
            unsafe { piece.add(PAGE).write(0) };
            (self.rest, self.left) = (piece, START);
        }
        let block = self.rest;
        // SAFETY: `left`, at least `whole`, bytes from here on are the heap's.
        self.rest = unsafe { block.add(whole) };
        self.left = self.left.saturating_sub(whole);
        (block, false)
    }

    /// Puts a block of this list back.
    fn give(&mut self, block: *mut u8, list: usize) {
        let Some(first) = self.lists.get_mut(list) else { return };
        // SAFETY: the block was taken from here, so it is SMALLEST bytes or more, and its owner has given it up.
        unsafe { block.add(HEADER).cast::<*mut u8>().write(*first) };
        *first = block;
    }
}

/// Allocates `size` bytes; null where there are none. With `clear` all of them are zero, which costs nothing where they were never used.
fn allocate(size: usize, clear: bool) -> *mut c_void {
    let Some((whole, list)) = class(size) else { return ptr::null_mut() };
    let (block, used) = match list {
        Some(list) => HEAP.lock().unwrap_or_else(PoisonError::into_inner).take(whole, list),
        None => (map(whole), false),
    };
    if block.is_null() {
        return ptr::null_mut();
    }
    // SAFETY: the block is at least HEADER bytes longer than `size`, aligned, and nobody else has it.
    unsafe {
        block.cast::<usize>().write(whole);
        let memory = block.add(HEADER);
        // What is about to be written would cost a second fault if it were read first, so little is cleared in any case.
        if clear && (used || whole <= LITTLE) {
            memory.write_bytes(0, size);
        }
        memory.cast()
    }
}

/// Returns zeroed memory for `count` elements of `size` bytes; null where there is none, or no such size.
fn allocate_array(count: usize, size: usize) -> *mut c_void {
    count.checked_mul(size).map_or(ptr::null_mut(), |size| allocate(size, true))
}

/// Returns `size` bytes at a multiple of `alignment`, a power of two; null where there are none.
fn allocate_aligned(alignment: usize, size: usize) -> *mut c_void {
    if alignment <= HEADER {
        return allocate(size, false);
    }
    let memory = size.checked_add(alignment).map_or(ptr::null_mut(), |size| allocate(size, false));
    let distance = memory.addr().wrapping_neg() & alignment.wrapping_sub(1);
    if memory.is_null() || distance == 0 {
        return memory;
    }
    // SAFETY: what was allocated is `alignment` bytes longer than `size`, and the distance is less. It is a multiple of HEADER, as
    // `memory` and the alignment are, so there is room for a header before what is handed out.
    unsafe {
        let inside = memory.cast::<u8>().add(distance);
        inside.sub(HEADER).cast::<usize>().write(distance | INSIDE);
        inside.cast()
    }
}

/// Returns the start and the length of the block that an allocation is in.
///
/// # Safety
/// `memory` came from [`allocate`] or [`allocate_aligned`] and was not given back.
unsafe fn block_of(memory: *mut c_void) -> (*mut u8, usize) {
    // SAFETY: HEADER bytes before what was handed out is the length of its block, or the distance to the header that has it.
    unsafe {
        let header = memory.cast::<u8>().sub(HEADER);
        let word = header.cast::<usize>().read();
        if word & INSIDE == 0 {
            return (header, word);
        }
        let block = header.sub(word & !INSIDE);
        (block, block.cast::<usize>().read())
    }
}

/// Gives memory back.
///
/// # Safety
/// `memory` is null, or came from [`allocate`] or [`allocate_aligned`], was not given back and is not used again.
unsafe fn release(memory: *mut c_void) {
    if memory.is_null() {
        return;
    }
    // SAFETY: the caller says so.
    let (block, whole) = unsafe { block_of(memory) };
    match class(whole.saturating_sub(HEADER)) {
        Some((_, Some(list))) => HEAP.lock().unwrap_or_else(PoisonError::into_inner).give(block, list),
        // SAFETY: a block of this length is a mapping of its own, and nothing points into it any more.
        _ => unsafe {
            libc::munmap(block.cast(), whole);
        },
    }
}

/// Makes memory longer or shorter; null, and nothing changed, where that is not possible.
///
/// # Safety
/// As for [`release`]; what is returned takes its place.
unsafe fn resize(memory: *mut c_void, size: usize) -> *mut c_void {
    if memory.is_null() {
        return allocate(size, false);
    }
    let Some((wanted, list)) = class(size) else { return ptr::null_mut() };
    // SAFETY: the caller says so.
    let (block, whole) = unsafe { block_of(memory) };
    // Less than the whole where the memory starts inside its block.
    let room = whole.saturating_sub(memory.addr().saturating_sub(block.addr()));
    let is_inside = room.saturating_add(HEADER) < whole;
    if wanted == whole && !is_inside {
        return memory;
    }
    if list.is_none() && whole >= BIG && !is_inside {
        // SAFETY: the block is a mapping of `whole` bytes; if it moves, its old place is not used again.
        let moved = unsafe { libc::mremap(block.cast(), whole, wanted, libc::MREMAP_MAYMOVE) };
        if moved == libc::MAP_FAILED {
            return ptr::null_mut();
        }
        // SAFETY: as in `allocate`.
        return unsafe {
            moved.cast::<usize>().write(wanted);
            moved.cast::<u8>().add(HEADER).cast()
        };
    }
    let new = allocate(size, false);
    if !new.is_null() {
        // SAFETY: two blocks, so they do not overlap, each at least this long; the old one is given up.
        unsafe {
            ptr::copy_nonoverlapping(memory.cast::<u8>(), new.cast(), room.min(size));
            release(memory);
        }
    }
    new
}

/// The names that the C library, libblkid and Rust's own allocator call, in the static programs alone: elsewhere the machine's own
/// C library comes with its own.
#[cfg(target_env = "musl")]
mod names {
    use std::{
        ffi::{c_int, c_void},
        ptr,
    };

    use nix::errno::Errno;

    use super::{allocate, allocate_aligned, allocate_array, release, resize};

    /// Sets `errno` where there is no memory.
    fn checked(memory: *mut c_void) -> *mut c_void {
        if memory.is_null() {
            Errno::ENOMEM.set();
        }
        memory
    }

    #[unsafe(no_mangle)]
    extern "C" fn malloc(size: usize) -> *mut c_void {
        checked(allocate(size, false))
    }

    #[unsafe(no_mangle)]
    extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
        checked(allocate_array(count, size))
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn realloc(memory: *mut c_void, size: usize) -> *mut c_void {
        // SAFETY: realloc(3) asks of its callers what `resize` asks.
        checked(unsafe { resize(memory, size) })
    }

    #[unsafe(no_mangle)]
    unsafe extern "C" fn free(memory: *mut c_void) {
        // SAFETY: free(3) asks of its callers what `release` asks.
        unsafe { release(memory) }
    }

    #[unsafe(no_mangle)]
    extern "C" fn aligned_alloc(alignment: usize, size: usize) -> *mut c_void {
        if !alignment.is_power_of_two() {
            Errno::EINVAL.set();
            return ptr::null_mut();
        }
        checked(allocate_aligned(alignment, size))
    }

    #[unsafe(no_mangle)]
    extern "C" fn memalign(alignment: usize, size: usize) -> *mut c_void {
        aligned_alloc(alignment, size)
    }

    /// Leaves `errno` alone (posix_memalign(3)).
    #[unsafe(no_mangle)]
    unsafe extern "C" fn posix_memalign(place: *mut *mut c_void, alignment: usize, size: usize) -> c_int {
        if !alignment.is_power_of_two() || alignment < size_of::<*mut c_void>() {
            return libc::EINVAL;
        }
        let memory = allocate_aligned(alignment, size);
        if memory.is_null() {
            return libc::ENOMEM;
        }
        // SAFETY: posix_memalign(3) asks for a place that can be written.
        unsafe { place.write(memory) };
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns numbers that look like chance and are the same every time (xorshift).
    fn numbers() -> impl FnMut(usize) -> usize {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % u64::try_from(below).unwrap()).unwrap()
        }
    }

    /// An allocation and the byte it is full of.
    struct Owned(*mut c_void, usize, u8);

    impl Owned {
        fn new(memory: *mut c_void, size: usize, mark: u8) -> Self {
            Self::aligned(memory, HEADER, size, mark)
        }

        fn aligned(memory: *mut c_void, alignment: usize, size: usize, mark: u8) -> Self {
            assert!(!memory.is_null());
            assert_eq!(memory.addr() % alignment.max(HEADER), 0, "not aligned to {alignment}");
            // SAFETY: it was handed out as `size` bytes.
            unsafe { memory.cast::<u8>().write_bytes(mark, size) };
            Self(memory, size, mark)
        }

        fn bytes(&self) -> &[u8] {
            // SAFETY: it was handed out as that many bytes, and they were all written.
            unsafe { std::slice::from_raw_parts(self.0.cast(), self.1) }
        }

        fn check(&self) {
            assert!(self.bytes().iter().all(|byte| *byte == self.2), "somebody else wrote into {} bytes", self.1);
        }
    }

    #[test]
    fn nobody_writes_into_anothers_memory() {
        const SIZES: [usize; 8] = [1, 15, 40, 300, 5000, 70_000, BIG, 3 << 20];
        let mut number = numbers();
        let mut owned: Vec<Owned> = Vec::new();
        for round in 0..20_000_usize {
            let mark = u8::try_from(round % 251).unwrap();
            let most = SIZES[number(if round % 40 == 0 { SIZES.len() } else { 5 })];
            let size = number(most) + 1;
            match number(5) {
                0 if owned.len() < 200 => {
                    let alignment = 1 << number(14);
                    owned.push(Owned::aligned(allocate_aligned(alignment, size), alignment, size, mark));
                }
                1 | 2 if owned.len() < 200 => {
                    let clear = number(2) == 0;
                    let memory = allocate(size, clear);
                    if clear {
                        // SAFETY: it was handed out as `size` bytes, all cleared.
                        let bytes = unsafe { std::slice::from_raw_parts(memory.cast::<u8>(), size) };
                        assert!(bytes.iter().all(|byte| *byte == 0), "{size} bytes are not clear");
                    }
                    owned.push(Owned::new(memory, size, mark));
                }
                3 if !owned.is_empty() => {
                    let old = owned.swap_remove(number(owned.len()));
                    old.check();
                    // SAFETY: it came from `allocate`, and only the result is used from here on.
                    let memory = unsafe { resize(old.0, size) };
                    assert!(!memory.is_null());
                    Owned(memory, old.1.min(size), old.2).check();
                    owned.push(Owned::new(memory, size, mark));
                }
                _ if !owned.is_empty() => {
                    let old = owned.swap_remove(number(owned.len()));
                    old.check();
                    // SAFETY: it came from `allocate` and is not used again.
                    unsafe { release(old.0) };
                }
                _ => {}
            }
        }
        for old in owned {
            old.check();
            // SAFETY: as above.
            unsafe { release(old.0) };
        }
    }

    #[test]
    fn blocks_have_room_and_a_list_of_their_own() {
        for size in (0..3 * BIG).step_by(7).chain([BIG - HEADER - 1, BIG - HEADER, BIG - HEADER + 1]) {
            let (whole, list) = class(size).unwrap();
            assert!(whole >= size + HEADER && whole.is_multiple_of(HEADER), "{size}: {whole}");
            assert_eq!(list.is_none(), whole > BIG / 2, "{size}: {whole}");
            assert!(list.is_none_or(|list| SMALLEST << list == whole && list < LISTS), "{size}: {whole}");
            // What is given back goes to the list that it came from.
            assert_eq!(class(whole - HEADER), Some((whole, list)), "{size}: {whole}");
        }
        assert_eq!(class(usize::MAX), None);
        assert_eq!(class(usize::MAX - HEADER), None);
    }

    #[test]
    fn what_cannot_be_had_is_null() {
        assert!(allocate(usize::MAX, false).is_null());
        assert!(allocate(usize::MAX / 2, true).is_null());
        assert!(allocate_array(usize::MAX, 2).is_null());
        assert!(allocate_array(1 << (usize::BITS / 2), 1 << (usize::BITS / 2)).is_null(), "wraps to nothing");
        assert!(allocate_aligned(4096, usize::MAX - 4095).is_null());
        assert!(allocate_aligned(1 << (usize::BITS - 1), 1).is_null());
        let kept = Owned::new(allocate(100, false), 100, 7);
        // SAFETY: it came from `allocate`; where nothing comes back it stays as it was.
        assert!(unsafe { resize(kept.0, usize::MAX / 2) }.is_null());
        kept.check();
        // SAFETY: null and what is not used again may be given back.
        unsafe {
            release(ptr::null_mut());
            release(kept.0);
        }
    }
}
