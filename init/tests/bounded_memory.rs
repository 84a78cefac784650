//! Module files that unpack to far more than any module: each is refused, and what that takes is measured. The allocator of this
//! program counts, so nothing else runs in it.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::Write,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use initramfs_overlay_init::modules::file::decompress;

/// An allocator that knows how much is in use, and how much was at most.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code, reason = "an allocator is")]
// SAFETY: all work is the system's allocator's; beside that only numbers change.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MOST.fetch_max(USED.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        // SAFETY: the caller's promises are handed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that a file may unpack to, in bytes.
const LIMIT: usize = 64 << 20;

/// Bytes that a bomb unpacks to.
const BOMB: usize = 160 << 20;

/// Has a writer compress `size` zeros.
fn zeros(mut encoder: impl Write, size: usize) {
    let block = vec![0; 1 << 20];
    for _ in 0..size >> 20 {
        encoder.write_all(&block).unwrap();
    }
    encoder.write_all(&block[..size & ((1 << 20) - 1)]).unwrap();
}

fn packed(suffix: &str, size: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    match suffix {
        "gz" => {
            let mut encoder = flate2::write::GzEncoder::new(&mut bytes, flate2::Compression::best());
            zeros(&mut encoder, size);
            encoder.finish().unwrap();
        }
        "xz" => {
            let mut options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
            options.dict_size(u32::try_from(LIMIT).unwrap());
            let mut filters = liblzma::stream::Filters::new();
            filters.lzma2(&options);
            let stream = liblzma::stream::Stream::new_stream_encoder(&filters, liblzma::stream::Check::Crc32).unwrap();
            let mut encoder = liblzma::write::XzEncoder::new_stream(&mut bytes, stream);
            zeros(&mut encoder, size);
            encoder.finish().unwrap();
        }
        _ => {
            let mut encoder = zstd::Encoder::new(&mut bytes, 3).unwrap();
            encoder.window_log(26).unwrap();
            zeros(&mut encoder, size);
            encoder.finish().unwrap();
        }
    }
    bytes
}

#[test]
fn what_a_module_file_unpacks_to_is_bounded() {
    for suffix in ["gz", "xz", "zst"] {
        let name = format!("a.ko.{suffix}");
        let largest = packed(suffix, LIMIT - 1);
        assert_eq!(decompress(&name, largest).unwrap().len(), LIMIT - 1, "{name}: the largest that is taken");
        let bomb = packed(suffix, BOMB);
        assert!(bomb.len() < 1 << 20, "{name}: {} bytes", bomb.len());
        MOST.store(USED.load(Relaxed), Relaxed);
        let before = USED.load(Relaxed);
        let outcome = decompress(&name, bomb);
        let most = MOST.load(Relaxed) - before;
        println!("{name}: {} MiB at most", most >> 20);
        assert!(outcome.is_err(), "{name}: {} bytes", outcome.unwrap().len());
        // The output, and a dictionary as large, each beside its smaller self while it grows.
        assert!(most <= 4 * LIMIT, "{name}: {} MiB", most >> 20);
    }
}
