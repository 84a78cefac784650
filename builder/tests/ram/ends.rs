//! Exits of programs, and boots that reach none.

use serde_json::json;

use crate::{image::Layer, lab::Lab};

pub fn stop_signal(lab: &Lab) {
    let image = lab.image_with(&json!({ "Entrypoint": ["/bin/sh", "-c"], "StopSignal": "SIGQUIT" }), vec![lab.base()]);
    let script = "trap 'echo asked to quit; exit 9' QUIT; trap 'echo reloaded; reloaded=1' HUP; kill -HUP 1
        until [ \"$reloaded\" ]; do usleep 10000; done; kill -TERM 1; while :; do usleep 10000; done";
    lab.run(&image, &[], &[script]).expect(9).expect_lines(&["reloaded", "asked to quit"]);
}

pub fn orphans(lab: &Lab) {
    let script = "for i in 1 2 3; do (true & usleep 1000) & done; wait; usleep 200000; ps -o stat,comm | grep -c '^Z'; (sleep 1000 &); exit 3";
    lab.run(&lab.image(), &[], &[script]).expect(3).expect_lines(&["0"]);
}

/// A KVM that passes the probe and then hangs: nobody asked for it, so it is left.
pub fn kvm_hangs(lab: &Lab) {
    use std::os::unix::fs::PermissionsExt;
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/kvm") {
        return crate::support::skip(&format!("/dev/kvm: {error}"));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let name = "qemu-system-x86_64";
    let real =
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.exists()).expect("QEMU");
    let (directory, temporary) = (lab.directory(), lab.directory());
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' -accel kvm '*) case \" $* \" in *' -bios '*) exit 43;; esac; exec sleep 1000;; esac\nexec {} \"$@\"\n",
        real.display()
    );
    std::fs::write(directory.join(name), script).expect("a file");
    std::fs::set_permissions(directory.join(name), std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let path = std::env::join_paths([directory].into_iter().chain(std::env::split_paths(&path))).expect("a path");
    let run_with = |options: &[&str]| {
        let mut command = lab.command(&["run", &lab.image(), "--json"]);
        command.args(options).env("PATH", &path).env("TMPDIR", &temporary);
        crate::ended::run(command.args(["--", "echo it ran; exit 3"]))
    };
    let ended = run_with(&["--timeout", "300s"]);
    ended.expect(3);
    assert!(ended.errors.contains("KVM hangs here") && ended.errors.contains("it ran"), "{}", ended.errors);
    assert!(ended.output.contains("\"accelerator\": \"tcg\""), "{}", ended.output);
    // Who asks for it has it.
    let ended = run_with(&["--accel", "kvm", "--timeout", "3s"]);
    ended.expect(124);
    assert!(!ended.errors.contains("KVM hangs here"), "{}", ended.errors);
}

pub fn cut_short(lab: &Lab) {
    let (file, told) = lab.pack(&lab.image(), &["--cmd", "echo it ran"]);
    let console = lab.boot("x86_64", &file, "rd.exit=console");
    assert!(console.contains("it ran") && console.contains("exit status 0"), "{console}");
    // What the list was in is the last that is lost.
    let size = told["initramfs"]["size"].as_u64().expect("a size");
    let boot_cut = |kept: u64| {
        let cut = lab.directory().join("cut");
        std::fs::copy(&file, &cut).expect("a copy");
        std::fs::File::options().write(true).open(&cut).expect("a file").set_len(kept).expect("a length");
        lab.boot("x86_64", &cut, "rd.exit=console rd.onerror=poweroff:0")
    };
    for kept in [size - 700, size * 3 / 4, size / 2, size / 4] {
        let console = boot_cut(kept);
        assert!(
            console.contains("cannot boot: root-torn") && !console.contains("it ran"),
            "{kept} of {size}:\n{console}"
        );
    }
    // Init is the first in it. Where not even that is whole, nothing else is there that the kernel could run in its place.
    let console = boot_cut(size / 10);
    assert!(console.contains("Kernel panic") && !console.contains("press Enter"), "{console}");
}

pub fn low_memory(lab: &Lab) {
    let layer = Layer::new().file("etc/noise", 0o644, &crate::support::noise(60 << 20));
    let image = lab.image_with(&json!({ "Cmd": ["/bin/echo", "it ran"] }), vec![lab.base(), layer]);
    let ended = lab.run(&image, &["--memory", "208M"], &[]);
    ended.expect(125);
    assert!(ended.errors.contains("the boot failed: memory-short"), "{}", ended.errors);
    for words in ["the root takes 62.", "give the machine more memory: at least 212."] {
        assert!(ended.output.contains(words), "{words}:\n{}", ended.output);
    }
    // What is enough is chosen by itself where nothing is said, and told where the archive is made.
    let told = lab.pack(&image, &[]).1;
    let least = told["initramfs"]["minimum_memory"].as_u64().expect("a number") >> 20;
    lab.run(&image, &["--memory", &format!("{least}M")], &[]).expect(0).expect_lines(&["it ran"]);
}

pub fn cannot_run(lab: &Lab) {
    let layer = Layer::new().file("bin/text", 0o755, b"no program\n").file("bin/lost", 0o755, b"#!/no/such\n");
    let image = lab.image_with(&json!({ "Cmd": ["nothing"] }), vec![lab.base(), layer]);
    for (options, code, words) in [
        (&[][..], "entrypoint-missing", "it is not in /usr/local/sbin"),
        (&["--entrypoint", "text"], "entrypoint-exec", "is the image for this processor"),
        (&["--entrypoint", "lost"], "entrypoint-exec", "put the interpreter that it names"),
        (&["--entrypoint", "sh", "--user", "nobody"], "user-unknown", "the root knows root, web"),
    ] {
        let ended = lab.run(&image, options, &[]);
        ended.expect(125);
        assert!(ended.errors.contains(&format!("the boot failed: {code}")), "{}\n{}", ended.errors, ended.output);
        assert!(ended.output.contains(words), "{words}:\n{}", ended.output);
    }
}
