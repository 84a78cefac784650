//! Download and caching of layers: several at once, each once, none in part.

use super::*;

#[test]
fn a_broken_pull_leaves_nothing_and_can_be_done_again() {
    type Break = fn(&mut Answer);
    let breaks: [(&str, Break); 5] = [
        ("the received content has digest sha256:", |answer| answer.body[5000] ^= 1),
        ("and its descriptor says", |answer| answer.body.push(0)),
        ("more than the", |answer| {
            answer.body.resize(1_000_000, 0);
            answer.endless = true;
        }),
        ("HTTP 403", |answer| answer.status = 403),
        ("HTTP 404", |answer| *answer = Answer::new(404, "")),
    ];
    let (blobs, root, layer) = Blobs::of_image("x");
    for (expected, break_it) in breaks {
        let place = Place::new();
        let (good, name, broken) = (blobs.clone(), root.clone(), layer.clone());
        let asked = Arc::new(AtomicUsize::new(0));
        let counter = asked.clone();
        let server = Server::start(move |request| {
            let mut answer = registry(&good, &name, request);
            if request.path.ends_with(&broken) && counter.fetch_add(1, Ordering::SeqCst) == 0 {
                break_it(&mut answer);
            }
            answer
        });
        let name = format!("{}/image", server.address);
        let lock = place.path("lock");
        let said = place.fail(&name, &["--lock", lock.to_str().unwrap()]);
        let what = format!("cannot fetch layer 1 of 1 ({layer}) from {}", server.address);
        assert!(said.contains(&name) && said.contains(&what) && said.contains(expected), "{said}");
        assert!(!place.is_kept(&layer) && !lock.exists(), "{expected}");
        place.succeed(&name, &[]);
        assert!(place.is_kept(&layer));
        place.succeed(&name, &[]);
        assert_eq!(asked.load(Ordering::SeqCst), 2, "{expected}: what is kept was fetched again");
    }
}

#[test]
fn a_blob_in_the_cache_does_not_take_a_wrong_size() {
    let place = Place::new();
    let mut blobs = Blobs::default();
    let (good, layer) = blobs.image("amd64", "x");
    let size = blobs.0[&layer].len();
    let lies = [size - 1, size + 1].map(|size| {
        let descriptor =
            json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer, "size": size });
        blobs.manifest("amd64", &image::layer("x"), descriptor)
    });
    let (copy, root) = (blobs.clone(), good);
    let server = Server::start(move |request| registry(&copy, &root, request));
    place.succeed(&format!("{}/image", server.address), &[]);
    for lie in lies {
        let name = format!("{}/image@{}", server.address, digest_of(&lie));
        let said = place.fail(&name, &[]);
        assert!(said.contains(&format!("it has {size} bytes, and its descriptor says")), "{said}");
        assert!(place.is_kept(&layer));
    }
}

#[test]
fn two_at_once_fetch_a_layer_once() {
    let place = Place::new();
    let (blobs, root, layer) = Blobs::of_image("x");
    let server = Server::start(move |request| registry(&blobs, &root, request));
    let name = format!("{}/image", server.address);
    let both = ["one", "two"].map(|output| {
        let output = place.path(output);
        place.command(&name, &["-o", output.to_str().unwrap()]).spawn().unwrap()
    });
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", errors(&output));
    }
    assert_eq!(fs::read(place.path("one")).unwrap(), fs::read(place.path("two")).unwrap());
    assert_eq!(server.requests().iter().filter(|request| request.path.ends_with(&layer)).count(), 1);
}

/// Six layers, and the registry that has them: three are asked for before the first is sent.
#[test]
fn layers_come_at_the_same_time_and_are_in_their_order() {
    let place = Place::new();
    let mut blobs = Blobs::default();
    let (root, layers) = blobs.image_of_layers("amd64", &["1", "2", "3", "4", "5", "6"]);
    blobs.write_layout(&place.path("layout"), &root);
    let waiting = Arc::new((Mutex::new(0_usize), Condvar::new()));
    let most = Arc::new(AtomicUsize::new(0));
    let (seen, gate) = (most.clone(), waiting.clone());
    let server = Server::start(move |request| {
        if layers.iter().any(|layer| request.path.ends_with(layer)) {
            let (count, changed) = &*gate;
            let mut now = count.lock().unwrap();
            *now += 1;
            seen.fetch_max(*now, Ordering::SeqCst);
            changed.notify_all();
            // The others come, or nobody else will: then the most that was seen is the answer.
            let (mut now, _) = changed.wait_timeout_while(now, Duration::from_secs(5), |now| *now < 3).unwrap();
            // Those that wait for it have seen three.
            if seen.load(Ordering::SeqCst) < 3 {
                *now -= 1;
            }
        }
        registry(&blobs, &root, request)
    });
    let made = place.succeed(&format!("{}/image", server.address), &[]);
    assert_eq!(made, place.succeed(&format!("oci:{}", place.path("layout").display()), &[]));
    assert!(most.load(Ordering::SeqCst) >= 3, "no three layers came at the same time");
    assert_eq!(*waiting.0.lock().unwrap(), 6, "not every layer came once");
}

#[test]
fn the_first_error_ends_the_other_layers() {
    let place = Place::new();
    let mut blobs = Blobs::default();
    let (root, layers) = blobs.image_of_layers("amd64", &["1", "2", "3", "4", "5", "6"]);
    let broken = layers[1].clone();
    let others = layers.clone();
    // The others are sent for ever, or until their reader hangs up.
    let server = Server::start(move |request| {
        let mut answer = registry(&blobs, &root, request);
        if request.path.ends_with(&broken) {
            answer = Answer::new(403, "");
        } else if others.iter().any(|layer| request.path.ends_with(layer)) {
            answer.drip = true;
        }
        answer
    });
    let said = place.fail(&format!("{}/image", server.address), &[]);
    assert!(said.contains("cannot fetch layer 2 of 6") && said.contains("HTTP 403"), "{said}");
    assert!(layers.iter().all(|layer| !place.is_kept(layer)));
    let asked = server.requests().iter().filter(|request| request.path.contains("/blobs/")).count();
    // The config, and no more layers than come at the same time.
    assert!(asked <= 4, "{asked} blobs were asked for");
}

#[test]
fn blobs_are_deleted_when_nobody_wants_them() {
    let place = Place::new();
    let mut blobs = Blobs::default();
    let (one, first) = blobs.image("amd64", "one");
    let (two, second) = blobs.image("amd64", "two");
    let both = [one, two];
    let names = both.clone().map(|root| digest_of(&root));
    let server = Server::start(move |request| registry(&blobs, &both[0], request));
    let image = |digest: &str| format!("{}/image@{digest}", server.address);
    place.succeed(&image(&names[0]), &[]);
    place.succeed(&image(&names[1]), &[]);
    // What is used is noted, also where nothing comes from the registry.
    let list = |name: &str| place.path("cache/oci").join(name.replace(':', "-")).join(".complete.json");
    for name in [&names[0], &first, &second] {
        let file = fs::File::options().append(true).open(list(name)).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    }
    place.succeed(&image(&names[0]), &[]);
    let is_noted =
        |name: &str| fs::metadata(list(name)).unwrap().modified().unwrap() > std::time::SystemTime::UNIX_EPOCH;
    assert_eq!([&names[0], &first, &second].map(|name| is_noted(name)), [true, true, false]);
    let prune = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
        command.args(["oci", "prune"]).args(more).env("INITRAMFS_OVERLAY_CACHE", place.path("cache"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let reading = fs::File::open(place.path("cache/oci/.readers.lock")).unwrap();
    reading.lock_shared().unwrap();
    let (code, said) = prune(&[]);
    assert!(code == Some(2) && said.contains("another command is reading"), "{said}");
    drop(reading);
    // Each layer has some 200 KB that do not compress; one mebibyte takes both.
    assert!(prune(&["--keep", "1"]).1.starts_with("deleted 0 blobs"));
    let (code, said) = prune(&["--json"]);
    let told: Value = serde_json::from_str(&said).unwrap();
    assert!(code == Some(0) && told["left"] == 0 && told["blobs"].as_u64() >= Some(6), "{said}");
    assert!(!place.is_kept(&first) && !place.is_kept(&second));
    place.succeed(&image(&names[0]), &[]);
    assert!(place.is_kept(&first));
}
