//! Registries that fail in passing: what came is kept, and the rest is asked for.

use super::*;

/// Returns a layer of four mebibytes that do not compress, and the image that it makes.
fn large() -> (Blobs, Value, String) {
    let mut blobs = Blobs::default();
    let mut plain = layer("x");
    plain.truncate(plain.len() - 1024);
    let noise = noise(4 << 20);
    let mut header = tar::Header::new_ustar();
    header.set_path("large").unwrap();
    header.set_size(noise.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    plain.extend(header.as_bytes());
    plain.extend(noise);
    plain.extend([0; 1024]);
    let stored = blobs.add("application/vnd.oci.image.layer.v1.tar", &plain);
    let name = digest_of(&stored);
    let root = blobs.manifest("amd64", &plain, stored);
    (blobs, root, name)
}

const CUT: usize = 256 << 10;

#[test]
fn a_registry_that_fails_most_of_the_time_is_pulled_from() {
    let (blobs, root, name) = large();
    let whole: usize = blobs.0.values().map(Vec::len).sum();
    let fate = Mutex::new(Numbers(20_260));
    let server = Server::start(move |request| match fate.lock().unwrap().below(6) {
        0 => Answer::new(429, "").with("Retry-After", "0"),
        1 => Answer::new(500, ""),
        _ => registry(&blobs, &root, request).in_parts(CUT),
    });
    let image = format!("{}/image", server.address);
    let mut first = None;
    for pull in 0..20 {
        let place = Place::new();
        let made = place.succeed(&image, &[]);
        assert_eq!(*first.get_or_insert(made.clone()), made, "pull {pull}");
        assert!(place.wrong().is_empty() && place.is_kept(&name) && !place.partial(&name).exists(), "pull {pull}");
        let sent = server.sent();
        assert!(sent * 100 <= whole * 102, "pull {pull}: {sent} bytes of bodies for an image of {whole}");
    }
}

/// As often as `OCI_REGISTRY=long` wants it, else a few times.
#[test]
fn a_pull_that_is_killed_is_gone_on_with() {
    let count = if std::env::var("OCI_REGISTRY").is_ok_and(|value| value == "long") { 50 } else { 8 };
    let (blobs, root, name) = large();
    let stored = blobs.0[&name].clone();
    let (copy, of_root) = (blobs.clone(), root.clone());
    let want = {
        let server = Server::start(move |request| registry(&copy, &of_root, request));
        Place::new().succeed(&format!("{}/image", server.address), &[])
    };
    let seed = 4_711;
    let mut fate = Numbers(seed);
    let mut resumed = 0;
    for round in 0..count {
        let place = Place::new();
        // It sends so much of the layer and then nothing more; whoever wants the rest is killed at that moment.
        let stop_at = fate.below(stored.len());
        let (reached, has_stopped) = std::sync::mpsc::channel();
        let reached = Mutex::new(reached);
        let (copy, of_root, layer) = (blobs.clone(), root.clone(), name.clone());
        let server = Server::start(move |request| {
            let answer = registry(&copy, &of_root, request);
            if !request.path.ends_with(&layer) {
                return answer;
            }
            if request.from.is_some() {
                // All that was sent was taken: the rest is never given.
                let _ = reached.lock().unwrap().send(());
                std::thread::park();
            }
            answer.in_parts(stop_at)
        });
        let image = format!("{}/image", server.address);
        let mut child = place.command(&image, &[]).spawn().unwrap();
        // Nothing at all of it is not asked to go on with.
        let _ = has_stopped.recv_timeout(Duration::from_secs(if stop_at == 0 { 1 } else { 60 }));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(place.wrong().is_empty(), "round {round} of seed {seed}: {:?}", place.wrong());
        let there = fs::metadata(place.partial(&name)).map_or(0, |metadata| metadata.len() as usize);
        assert_eq!(there, stop_at, "round {round} of seed {seed}");
        let (copy, of_root) = (blobs.clone(), root.clone());
        let server = Server::start(move |request| registry(&copy, &of_root, request).in_parts(usize::MAX));
        let made = place.succeed(&format!("{}/image", server.address), &[]);
        assert!(made == want && place.wrong().is_empty(), "round {round} of seed {seed}");
        let asked = server.requests().into_iter().find(|request| request.path.ends_with(&name)).unwrap();
        resumed += usize::from(asked.from == Some(stop_at) || stop_at == 0);
    }
    assert_eq!(resumed, count, "of {count} pulls");
    let _ = writeln!(std::io::stderr(), "{count} pulls were killed (seed {seed}); all went on where they stopped");
}

#[test]
fn what_is_there_is_compared_where_a_server_knows_no_ranges() {
    let (blobs, root, name) = large();
    let size = blobs.0[&name].len();
    let place = Place::new();
    let count = Arc::new(AtomicUsize::new(0));
    let (seen, layer, copy, of_root) = (count.clone(), name.clone(), blobs.clone(), root.clone());
    let server = Server::start(move |request| {
        let mut answer = registry(&copy, &of_root, request);
        if request.path.ends_with(&layer) && seen.fetch_add(1, Ordering::SeqCst) == 0 {
            answer.cut = Some(1_000_000);
        }
        answer
    });
    let output = place.command(&format!("{}/image", server.address), &[]).output().unwrap();
    let said = errors(&output);
    let made = place.made(&output);
    assert!(said.contains("sends all of it; the 1000000 bytes that are there are compared and skipped"), "{said}");
    assert_eq!(server.requests().iter().filter(|request| request.path.ends_with(&name)).count(), 2);

    // What is there and not right is not made part of the blob, whatever the server knows; nor is what is too much.
    let good = blobs.0[&name].clone();
    let wrong = [&good[..500_000], b"wrong", &good[500_005..900_000]].concat();
    for there in [wrong.clone(), [&good[..], b"more"].concat(), [&good[..size - 1], b"?"].concat(), good.clone()] {
        for knows_ranges in [true, false] {
            let place = Place::new();
            let (copy, of_root) = (blobs.clone(), root.clone());
            let server = Server::start(move |request| {
                let answer = registry(&copy, &of_root, request);
                if knows_ranges { answer.in_parts(usize::MAX) } else { answer }
            });
            fs::create_dir_all(place.path("cache/oci")).unwrap();
            fs::write(place.partial(&name), &there).unwrap();
            assert_eq!(place.succeed(&format!("{}/image", server.address), &[]), made);
            assert!(place.wrong().is_empty() && !place.partial(&name).exists());
        }
    }
}

#[test]
fn a_server_that_never_ends_is_given_up() {
    let (blobs, root, name) = large();
    let layer = name.clone();
    type Odd = fn(&mut Answer);
    let odds: [(&str, Odd, usize); 5] = [
        ("tried ", |answer| *answer = Answer::new(503, ""), 2),
        ("it asks to wait 7200 s", |answer| *answer = Answer::new(429, "").with("Retry-After", "7200"), 1),
        // The same beginning again and again.
        ("broke off after 1000 of", |answer| answer.cut = Some(1000), 2),
        (
            "was asked for its bytes from 1000 on and sends `bytes 0-9/10`",
            |answer| {
                answer.status = 206;
                answer.cut = Some(1000);
                answer.headers.push(("Content-Range".into(), "bytes 0-9/10".into()));
            },
            1,
        ),
        ("the connection broke off after 0 of", |answer| answer.cut = Some(0), 2),
    ];
    for (expected, odd, tries) in odds {
        let place = Place::new();
        let (copy, of_root, layer) = (blobs.clone(), root.clone(), layer.clone());
        let server = Server::start(move |request| {
            let mut answer = registry(&copy, &of_root, request);
            if request.path.ends_with(&layer) {
                odd(&mut answer);
                if answer.status == 206 && request.from.is_none() {
                    answer.status = 200;
                }
            }
            answer
        });
        let said = place.fail(&format!("{}/image", server.address), &["--registry-timeout", "700ms"]);
        assert!(said.contains(expected) && said.contains(&name), "{expected}: {said}");
        let asked = server.requests().iter().filter(|request| request.path.ends_with(&name)).count();
        assert!(asked >= tries && asked <= 30, "{expected}: asked {asked} times");
        assert!(!place.is_kept(&name));
    }
}

#[test]
fn documents_and_tokens_are_asked_for_again_too() {
    let place = Place::new();
    let mut blobs = Blobs::default();
    let (root, _) = blobs.image("amd64", "x");
    let fails = |every: usize| {
        let count = AtomicUsize::new(0);
        move || count.fetch_add(1, Ordering::SeqCst) % every != every - 1
    };
    let fail = fails(3);
    let tokens =
        Server::start(move |_| if fail() { Answer::new(502, "") } else { Answer::new(200, r#"{"token":"T1"}"#) });
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"it\"", tokens.address);
    let fail = fails(2);
    // Only the manifest says that a token is wanted.
    let server = Server::start(move |request| match request.authorization.as_deref() {
        _ if fail() => Answer::new(503, ""),
        Some("Bearer T1") => registry(&blobs, &root, request),
        _ if request.path == "/v2/" => Answer::new(200, "{}"),
        _ => Answer::new(401, "").with("WWW-Authenticate", realm.clone()),
    });
    place.succeed(&format!("{}/image", server.address), &[]);
    assert_eq!(tokens.requests().len(), 3);
}

#[test]
fn partial_blobs_count_when_the_cache_is_pruned() {
    let place = Place::new();
    fs::create_dir_all(place.path("cache/oci")).unwrap();
    let partial = place.partial(&format!("sha256:{}", "0".repeat(64)));
    fs::write(&partial, vec![0; 100_000]).unwrap();
    let prune = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
        let output =
            command.args(["oci", "prune"]).args(more).env("INITRAMFS_OVERLAY_CACHE", place.path("cache")).output();
        assert!(output.unwrap().status.success());
    };
    prune(&["--keep", "1"]);
    assert!(partial.exists());
    prune(&[]);
    assert!(!partial.exists());
}

#[test]
fn interim_answers_are_skipped_and_not_for_ever() {
    const CONTINUE: &str = "HTTP/1.1 100 Continue\r\n\r\n";
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nContent-Length: 7\r\n\r\n";
    let (blobs, root, _) = Blobs::of_image("x");
    let plain = {
        let (blobs, root) = (blobs.clone(), root.clone());
        let server = Server::start(move |request| registry(&blobs, &root, request));
        Place::new().succeed(&format!("{}/image", server.address), &[])
    };
    let of = |interim: &str, count: usize| {
        let (blobs, root, interim) = (blobs.clone(), root.clone(), interim.to_owned());
        Server::start(move |request| {
            let mut answer = registry(&blobs, &root, request);
            answer.interim = (interim.clone(), count);
            answer
        })
    };
    for (interim, count) in [(CONTINUE, 1), (HINTS, 2), ([CONTINUE, HINTS].concat().as_str(), 3)] {
        let server = of(interim, count);
        assert!(Place::new().succeed(&format!("{}/image", server.address), &[]) == plain, "{interim}");
    }
    let server = of(HINTS, usize::MAX);
    let begun = std::time::Instant::now();
    let said = Place::new().fail(&format!("{}/image", server.address), &["--registry-timeout", "1s"]);
    assert!(begun.elapsed() < Duration::from_secs(20), "{said}");
}
