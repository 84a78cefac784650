//! Virtual machines: [`Machine`] says what one is, and its arguments follow from that alone; `guest` starts it, listens to
//! its console, types on it and tells how it ended; `sd_card` makes a disk fit an SD slot. Knows QEMU, and nothing of images.

pub mod console;
pub mod guest;
pub mod machine;
pub mod sd_card;

pub use console::End;
pub use guest::{Guest, Verdict};
pub use machine::{Accelerator, Access, Drive, Machine, Terminal, program};
