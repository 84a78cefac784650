//! Directories of the host in a root that runs from memory (virtiofs).

use contract::workload;

use crate::{
    boot::{
        virtiofs::{self, config::Share},
        volumes::Devices,
    },
    context::Context,
    error::Result,
};

/// Mounts them, each where it is to be.
///
/// # Errors
/// A share that does not exist or cannot be mounted, a directory that cannot be made.
pub fn mount(context: &mut Context<'_>, shares: &[workload::Share]) -> Result<()> {
    let mut devices = Devices::default();
    for share in shares {
        context.make_dirs(&share.target)?;
        let source = Share { tag: share.tag.clone(), read_only: share.read_only };
        virtiofs::mount(context, &source, &share.target, &mut devices)?;
    }
    Ok(())
}
