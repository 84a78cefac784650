//! Kernel modules: which are baked into the image, what each needs, when each is loaded.

pub mod index;
