//! Variables of the environment.

use std::{env, path::PathBuf};

/// Returns an environment variable that holds a path; empty is unset.
pub fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
