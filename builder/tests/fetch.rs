//! Downloads from a real mirror of Debian's: slow, and in need of a network, so run only when `INITRAMFS_OVERLAY_TEST_FETCH`
//! is set. Uses the cache of the user (`INITRAMFS_OVERLAY_CACHE` chooses another one).

use base::progress::Progress;
use sources::{kernel_package, target};

fn is_wanted(test: &str) -> bool {
    let wanted = std::env::var_os("INITRAMFS_OVERLAY_TEST_FETCH").is_some();
    if !wanted {
        eprintln!("skipped: {test} needs the network; set INITRAMFS_OVERLAY_TEST_FETCH=1 to run it");
    }
    wanted
}

#[test]
fn a_kernel_for_every_target() {
    if !is_wanted("a_kernel_for_every_target") {
        return;
    }
    let cache = initramfs_overlay::cache::open().unwrap();
    for target in target::all().unwrap() {
        let kernel = kernel_package::debian(
            target,
            &cache,
            sources::Substitute::Refuse,
            &initramfs_overlay::progress::on_stderr(),
        )
        .unwrap();
        assert!(kernel.modules.join("kernel/fs/overlayfs/overlay.ko").is_file(), "{kernel:?}");
        assert!(kernel.vmlinuz.is_file());
        assert_eq!(kernel.dtb.is_some(), target.kernel.dtb.is_some());
        let again = kernel_package::debian(target, &cache, sources::Substitute::Refuse, &Progress::none()).unwrap();
        assert_eq!(kernel, again);
    }
}
