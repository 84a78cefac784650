//! Archives as they come, whole and broken.
