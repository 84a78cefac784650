//! Images as they are found: in forms that old and odd programs write, and with programs that expect what container engines add.

use std::fs;

use serde_json::{Value, json};

use crate::{
    block::{archive, directory, file, hard_link, made as member},
    image::Layer,
    lab::Lab,
    made::layout,
};

/// Makes an image with Docker's old headers, AUFS' own names, whiteouts that are hard links, and a bill of materials before it.
fn old_image(lab: &Lab, config: &Value) -> String {
    let old = archive(&[
        // A ustar header without a version, with a prefix.
        file("tool").at(263, "\0\0").at(345, "opt/deep").content(b"#!/bin/sh\necho tool\n").at(100, "0000755\0"),
        file("gone").content(b"x"),
        member(".wh..wh.aufs", b'0'),
        directory(".wh..wh.plnk/"),
        file(".wh..wh.plnk/1.2").content(b"linked\n"),
        hard_link("one", ".wh..wh.plnk/1.2"),
        hard_link("two", ".wh..wh.plnk/1.2"),
        // Engines leave these empty in the images that they make.
        directory("etc/"),
        member("etc/hosts", b'0'),
        member("etc/resolv.conf", b'2').at(157, "../run/systemd/resolve/stub-resolv.conf"),
    ]);
    let whiteout = archive(&[file("empty").content(b""), hard_link(".wh.gone", "empty")]);
    let base = lab.base().bytes();
    let directory = lab.directory();
    let layers = [base, old, whiteout].map(|layer| (layer.clone(), layer));
    let image = layout(&directory, "amd64", config, &layers);
    let index = directory.join("index.json");
    let mut value: Value = serde_json::from_slice(&fs::read(&index).expect("an index")).expect("JSON");
    let bill = b"{\"spdxVersion\":\"SPDX-2.3\"}";
    let digits = base::digest::digest(bill);
    fs::write(directory.join("blobs/sha256").join(&digits), bill).expect("a blob");
    let bill =
        json!({ "mediaType": "application/spdx+json", "digest": format!("sha256:{digits}"), "size": bill.len() });
    value["manifests"].as_array_mut().expect("manifests").insert(0, bill);
    fs::write(index, value.to_string()).expect("an index");
    image
}

pub fn as_they_are(lab: &Lab) {
    let config = json!({
        "Entrypoint": ["sh", "-c"], "User": "web", "Env": null, "Volumes": { "/data/db": {}, "/tmp": {} }, "StopSignal": "sigquit",
    });
    let image = old_image(lab, &config);
    let script = "/opt/deep/tool; ls -d /gone /.wh* /tool 2>/dev/null; cat /two; stat -c '%h %n' /one
        grep -c -e '^127.0.0.1.localhost$' -e '^127.0.1.1.box$' /etc/hosts; cat /etc/hostname; hostname; echo \"host $HOSTNAME\"
        stat -c 'resolv %F' /etc/resolv.conf; stat -c '%F %n' /data/db; ulimit -n; ulimit -Hn
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start; cat /proc/sys/net/ipv4/ping_group_range
        mount | grep -c ' /dev/mqueue type mqueue'
        busybox httpd -p 80 -h /etc && busybox wget -q -O - http://localhost/hostname";
    let ended = lab.run(&image, &["--hostname", "box"], &[script]);
    ended.expect(0).expect_lines(&[
        "tool", "linked", "2 /one", "2", "box", "host box", "resolv regular empty file", "directory /data/db",
        "1048576", "0", "0\t2147483647", "1",
    ]);
    let lines: Vec<&str> = ended.output.lines().map(str::trim_end).collect();
    assert_eq!(lines.iter().filter(|line| **line == "box").count(), 3, "{}", ended.output);
    assert_eq!(lines.iter().filter(|line| **line == "1048576").count(), 2, "{}", ended.output);
    assert!(!ended.output.contains("/gone") && !ended.output.contains(".wh"), "{}", ended.output);
}

/// The root's own mode and owner, and no name.
pub fn own_root(lab: &Lab) {
    let layer = Layer::new().attribute("trusted.own", b"yes").directory("./", 0o751);
    let image = lab.image_with(&json!({ "Entrypoint": ["/bin/sh", "-c"] }), vec![lab.base(), layer]);
    let ended =
        lab.run(&image, &[], &["stat -c '%a %u' /; hostname; echo \"$HOSTNAME\"; grep -c localhost /etc/hosts"]);
    ended.expect(0).expect_lines(&["751 0", "localhost", "2"]);
}
