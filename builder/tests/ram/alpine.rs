//! An image like Alpine's on machines of 32 bits: a small distribution in several layers, larger than one block of our gzip.

use archive::compress::gzip::BLOCK;
use serde_json::json;

use crate::{
    image::{Layer, layout},
    lab::Lab,
    support::noise,
};

/// BusyBox's applets in the image.
const APPLETS: [&str; 12] =
    ["cat", "cut", "echo", "env", "grep", "hostname", "id", "ls", "mount", "sh", "sha256sum", "uname"];
/// Its largest file, in bytes: many blocks, of which gzip takes nothing away.
const NOISE: usize = 5 << 20;

/// Returns a distribution's layer, and one above it that takes away, changes and adds.
fn image(lab: &Lab) -> String {
    let mut base = Layer::new().directory("bin/", 0o755).file("bin/busybox", 0o755, &lab.busybox("i686"));
    for applet in APPLETS {
        base = base.link(&format!("bin/{applet}"), "/bin/busybox");
    }
    let base = base
        .directory("etc/", 0o755)
        .file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:www:/srv:/bin/sh\n")
        .file("etc/group", 0o644, b"root:x:0:root\nlog:x:4:web\nweb:x:34:\n")
        .file("etc/os-release", 0o644, b"ID=like-alpine\n")
        .file("etc/gone", 0o644, b"of the layer below\n")
        .directory("tmp/", 0o1777)
        .directory("usr/lib/", 0o755)
        .link("lib", "usr/lib")
        .file("usr/lib/libnoise.so", 0o755, &noise(NOISE));
    let upper = Layer::new()
        .file("etc/.wh.gone", 0o644, b"")
        .file("etc/os-release", 0o644, b"ID=changed\n")
        .directory("srv/", 0o750)
        .file("lib/above", 0o644, b"through the link\n");
    let config = json!({ "Entrypoint": ["sh", "-c"], "Env": ["A=b c"], "User": "web", "Hostname": "box" });
    layout(&lab.directory(), "386", &config, vec![base, upper])
}

/// The program that looks at the image from inside; [`expected`] has its output.
const SCRIPT: &str =
    "id; uname -m; hostname; echo \"A=$A HOME=$HOME\"; cat /etc/os-release /usr/lib/above; ls /etc/gone 2>&1
    sha256sum /lib/libnoise.so | cut -c1-64; grep -c 'Pentium II' /proc/cpuinfo; exit 9";

fn expected() -> Vec<String> {
    let sum = base::digest::digest(&noise(NOISE));
    let lines =
        ["uid=33(web) gid=34(web) groups=4(log)", "i686", "box", "A=b c HOME=/srv", "ID=changed", "through the link"];
    let more = ["ls: /etc/gone: No such file or directory", &sum, "1"];
    lines.into_iter().chain(more).map(str::to_owned).collect()
}

pub fn run(lab: &Lab) {
    let ended = lab.run(&image(lab), &["--platform", "linux/386"], &[SCRIPT]);
    ended.expect(9).expect_lines(&expected().iter().map(String::as_str).collect::<Vec<_>>());
}

pub fn split(lab: &Lab) {
    let tool = lab.directory().join("tool");
    std::fs::write(&tool, format!("#!/bin/sh\n{SCRIPT}\n")).expect("a file");
    let inject = format!("{}:/bin/tool:755", tool.display());
    let options = ["--platform", "linux/386", "--split", "--inject", &inject, "--entrypoint", "tool"];
    let (file, told) = lab.pack(&image(lab), &options);
    let size = told["initramfs"]["archive"].as_u64().expect("a number");
    assert!(size > 4 * BLOCK as u64, "it is one block: {told}");
    let console = lab.boot("i686", &file, "rd.verify rd.exit=console");
    for line in expected() {
        assert!(console.lines().any(|seen| seen.trim_end() == line), "{line}:\n{console}");
    }
    assert!(console.contains("initramfs-overlay: exit status 9"), "{console}");
}
