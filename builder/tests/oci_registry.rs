//! Images from registries, from outside: a real registry on loopback that skopeo fills, and servers that break every rule. A test whose
//! programs are not installed says so and is skipped.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

#[path = "oci_images/gzip.rs"]
mod gzip;
#[path = "oci_registry/image.rs"]
mod image;
#[path = "oci_registry/place.rs"]
mod place;
#[path = "oci_registry/proxy.rs"]
mod proxy;
#[path = "oci_registry/real.rs"]
mod real;
#[path = "oci_registry/server.rs"]
mod server;
#[path = "oci_images/tools.rs"]
mod tools;

use image::{Blobs, INDEX, MANIFEST, digest_of, layer};
use place::Place;
use proxy::Proxy;
use real::Registry;
use server::{Answer, Request, Server};
use tools::{installed, tool};

/// Answers as a registry that holds `blobs` and calls the document `root` by every tag.
fn registry(blobs: &Blobs, root: &Value, request: &Request) -> Answer {
    let Some((_, last)) = request.path.rsplit_once('/') else { return Answer::new(404, "") };
    if request.path == "/v2/" {
        return Answer::new(200, "{}");
    }
    let digest = if last.starts_with("sha256:") { last.to_owned() } else { digest_of(root) };
    match blobs.0.get(&digest) {
        Some(bytes) if request.path.contains("/manifests/") => {
            let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
            let media_type = value["mediaType"].as_str().unwrap_or(MANIFEST);
            Answer::new(200, bytes.clone()).with("Content-Type", media_type).with("Docker-Content-Digest", digest)
        }
        Some(bytes) => Answer::new(200, bytes.clone()),
        None => Answer::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\u001b[31m unknown"}]}"#),
    }
}

fn push(layout: &Path, to: &str, more: &[&str]) {
    let from = format!("oci:{}", layout.display());
    let to = format!("docker://{to}");
    tool("skopeo", &[&["copy", "-q", "--all", "--dest-tls-verify=false"], more, &[&from, &to]].concat());
}

#[test]
fn a_real_registry_gives_what_a_layout_gives() {
    if !installed("docker-registry") || !installed("skopeo") {
        return;
    }
    let place = Place::new();
    let mut blobs = Blobs::default();
    let manifests = [blobs.image("arm64", "other").0, blobs.image("amd64", "first").0];
    let first = blobs.index(&manifests);
    let manifests = [blobs.image("amd64", "second").0];
    let second = blobs.index(&manifests);
    blobs.write_layout(&place.path("first"), &first);
    blobs.write_layout(&place.path("second"), &second);
    let registry = Registry::start(place.0.path(), "");
    let name = format!("{}/some/image:tag", registry.address);
    push(&place.path("first"), &name, &[]);

    let of_layout = |name: &str| place.succeed(&format!("oci:{}", place.path(name).display()), &[]);
    let lock = place.path("images.lock");
    let locked = ["--lock", lock.to_str().unwrap()];
    assert_eq!(place.succeed(&name, &locked), of_layout("first"));
    let text: Value = serde_json::from_slice(&fs::read(&lock).unwrap()).unwrap();
    assert_eq!(text, json!({ "images": { &name: digest_of(&first) } }));
    let said = place.fail(&name, &["--platform", "linux/riscv64"]);
    assert!(said.contains("no image for linux/riscv64; there is linux/arm64, linux/amd64"), "{said}");
    let said = place.fail(&format!("{}/some/image:no", registry.address), &[]);
    assert!(said.contains("HTTP 404: there is no such image or tag"), "{said}");

    // The tag moves: the lock keeps what it was.
    push(&place.path("second"), &name, &[]);
    assert_eq!(place.succeed(&name, &locked), of_layout("first"));
    assert_eq!(place.succeed(&name, &[]), of_layout("second"));
    let by_digest = format!("{}/some/image@{}", registry.address, digest_of(&first));
    let address = registry.address.clone();
    drop(registry);
    // What is known by its digest comes from the cache.
    assert_eq!(place.succeed(&name, &locked), of_layout("first"));
    assert_eq!(place.succeed(&by_digest, &[]), of_layout("first"));
    let said = place.fail(&name, &[]);
    assert!(said.contains(&format!("from {address}")) && said.contains("refused"), "{said}");
    // A cache that was damaged heals itself, or would with the registry there.
    let (_, layer) = Blobs::default().image("amd64", "first");
    let kept = place.path("cache/oci").join(layer.replace(':', "-")).join("blob");
    let mut bytes = fs::read(&kept).unwrap();
    bytes[1000] ^= 1;
    fs::write(&kept, bytes).unwrap();
    assert!(place.fail(&by_digest, &[]).contains("taken out of the cache"));
    assert!(!place.is_kept(&layer) && place.fail(&by_digest, &[]).contains("cannot fetch anything"));
}

#[test]
fn a_registry_with_a_password() {
    if !installed("docker-registry") || !installed("skopeo") {
        return;
    }
    let place = Place::new();
    // `user` and `secret`, as `htpasswd -Bbn` writes it.
    fs::write(place.path("htpasswd"), "user:$2y$05$LT6fnxmSJ.A21aBuzwHMzelSCTxHbmS1C6wB..3R5it.kJHw3Ao4a\n").unwrap();
    let auth = format!("auth: {{htpasswd: {{realm: x, path: {}}}}}\n", place.path("htpasswd").display());
    let registry = Registry::start(place.0.path(), &auth);
    let mut blobs = Blobs::default();
    let (root, _) = blobs.image("amd64", "x");
    blobs.write_layout(&place.path("layout"), &root);
    let name = format!("{}/image", registry.address);
    push(&place.path("layout"), &name, &["--dest-creds", "user:secret"]);

    assert!(place.fail(&name, &[]).contains("HTTP 401: it wants a name and a password"));
    let with_password = |password: &str| {
        let mut child =
            place.command(&name, &["--username", "user", "--password-stdin"]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let output = with_password("wrong\n");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("not taken") && !said.contains("wrong"), "{said}");
    let made = place.made(&with_password("secret\n"));

    // The three ways in which docker keeps a password.
    let helper = place.path("docker-credential-mine");
    let script = format!(
        "#!/bin/sh\nread server\n[ \"$1 $server\" = 'get {}' ] || {{ echo 'credentials not found in native keychain'; exit 1; }}\n\
         echo '{{\"Username\":\"user\",\"Secret\":\"secret\"}}'\n",
        registry.address
    );
    fs::write(&helper, script).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(place.path("docker")).unwrap();
    let path = format!("{}:{}", place.0.path().display(), std::env::var("PATH").unwrap());
    let configured = |config: &Value| {
        fs::write(place.path("docker/config.json"), config.to_string()).unwrap();
        let _ = fs::remove_dir_all(place.path("cache"));
        place.command(&name, &[]).env("PATH", &path).output().unwrap()
    };
    for config in [
        json!({ "auths": { &registry.address: { "auth": "dXNlcjpzZWNyZXQ=" } } }),
        json!({ "credHelpers": { &registry.address: "mine" } }),
        json!({ "auths": { &registry.address: {} }, "credsStore": "mine" }),
    ] {
        assert_eq!(place.made(&configured(&config)), made, "{config}");
    }
    let output = configured(&json!({ "credsStore": "absent" }));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("warning: ") && said.contains("HTTP 401"), "{said}");
    fs::write(place.path("docker/config.json"), "{").unwrap();
    assert!(place.fail(&name, &[]).contains("config.json cannot be used"));
}

/// A server of tokens, and a registry that sends there.
fn with_tokens(tokens: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> (Server, Server) {
    let tokens = Server::start(tokens);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"it\"", tokens.address);
    let mut blobs = Blobs::default();
    let (root, _) = blobs.image("amd64", "x");
    let server = Server::start(move |request| match request.authorization.as_deref() {
        Some("Bearer T1") => registry(&blobs, &root, request),
        _ => Answer::new(401, "").with("WWW-Authenticate", realm.clone()),
    });
    (tokens, server)
}

#[test]
fn what_podman_keeps_counts_for_the_image_that_it_is_for() {
    let place = Place::new();
    // Base64 of `user:secret`.
    let (tokens, server) = with_tokens(|request| match request.authorization.as_deref() {
        Some("Basic dXNlcjpzZWNyZXQ=") => Answer::new(200, r#"{"token":"T1"}"#),
        _ => Answer::new(401, ""),
    });
    let name = format!("{}/team/app", server.address);
    let right = json!({ "auth": "dXNlcjpzZWNyZXQ=" });
    let wrong = json!({ "auth": "dXNlcjp3cm9uZw==" });
    let of_team = |team: &Value, all: &Value| {
        json!({ "auths": { format!("{}/team", server.address): team, &server.address: all } }).to_string()
    };
    // The file of this login, the user's, docker's; each is asked where the one before has nothing.
    for file in ["runtime/containers/auth.json", "config/containers/auth.json", "docker/config.json", "named.json"] {
        let path = place.path(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let ask = |text: String| {
            fs::write(&path, text).unwrap();
            let mut command = place.command(&name, &[]);
            if file == "named.json" {
                command.env("REGISTRY_AUTH_FILE", &path);
            }
            command.output().unwrap()
        };
        place.made(&ask(of_team(&right, &wrong)));
        let output = ask(of_team(&wrong, &right));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("does not take that name and password"), "{file}: {said}");
        place
            .made(&ask(json!({ "auths": { format!("{}/team/app", server.address): right, &server.address: wrong } })
                .to_string()));
        if file != "named.json" {
            fs::remove_file(&path).unwrap();
        }
    }
    // A file that is named is the only one.
    fs::write(place.path("docker/config.json"), of_team(&right, &right)).unwrap();
    let output = place.command(&name, &[]).env("REGISTRY_AUTH_FILE", place.path("absent.json")).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("it gave no token (HTTP 401)"), "{output:?}");
    assert!(tokens.requests().iter().all(|request| request.method == "GET"));
}

#[test]
fn an_identity_token_is_changed_for_a_token() {
    let place = Place::new();
    let (tokens, server) = with_tokens(|request| {
        let form = request.body.as_str();
        let parts =
            ["grant_type=refresh_token", "refresh_token=I%2F1", "service=it", "scope=repository%3Aimage%3Apull"];
        let whole = request.method == "POST" && request.path == "/token" && request.authorization.is_none();
        match whole && parts.iter().all(|part| form.split('&').any(|pair| pair == *part)) {
            true => Answer::new(200, r#"{"access_token":"T1","expires_in":300,"scope":"x","refresh_token":"I/2"}"#),
            false => Answer::new(400, r#"{"details":"no"}"#),
        }
    });
    let name = format!("{}/image", server.address);
    fs::create_dir(place.path("docker")).unwrap();
    let keep = |token: &str| {
        // As docker writes it, with a name that nobody has.
        let entry = json!({ "auth": "MDAwMDAwMDAtMDAwMC0wMDAwLTAwMDAtMDAwMDAwMDAwMDAwOg==", "identitytoken": token });
        fs::write(place.path("docker/config.json"), json!({ "auths": { &server.address: entry } }).to_string())
            .unwrap();
    };
    keep("I/1");
    place.succeed(&name, &[]);
    assert_eq!(tokens.requests().len(), 1);
    keep("old");
    let said = place.fail(&name, &[]);
    assert!(said.contains("does not take the identity token that is kept for it; log in again"), "{said}");
    assert!(!said.contains("old"), "{said}");

    // Helpers hand one out under the name <token>. It goes nowhere else, whatever the server of tokens says.
    let foreign = Server::start(|_| Answer::new(200, r#"{"access_token":"T1"}"#));
    let elsewhere = format!("http://{}/token", foreign.address);
    let (_, server) = with_tokens(move |_| Answer::new(307, "").with("Location", elsewhere.clone()));
    let helper = place.path("docker-credential-mine");
    fs::write(&helper, "#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"<token>\",\"Secret\":\"I/1\"}'\n").unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(place.path("docker/config.json"), json!({ "credsStore": "mine" }).to_string()).unwrap();
    let path = format!("{}:{}", place.0.path().display(), std::env::var("PATH").unwrap());
    let output = place.command(&format!("{}/image", server.address), &[]).env("PATH", &path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("no token for the identity token") && said.contains("307"),
        "{said}"
    );
    assert!(foreign.requests().is_empty());

    // Where a password is wanted it is none.
    let server = Server::start(|_| Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""));
    let output = place.command(&format!("{}/image", server.address), &[]).env("PATH", &path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("what is kept for it is an identity token"), "{said}");
    assert!(server.requests().iter().all(|request| request.authorization.is_none()));
}

#[test]
fn a_registry_with_a_certificate() {
    if !["docker-registry", "skopeo", "openssl"].into_iter().all(installed) {
        return;
    }
    let place = Place::new();
    let (key, certificate) = (place.path("key.pem"), place.path("certificate.pem"));
    let options =
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=registry.test -addext subjectAltName=DNS:registry.test";
    let leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
    let files = ["-keyout", key.to_str().unwrap(), "-out", certificate.to_str().unwrap()];
    tool("openssl", &[&options.split(' ').collect::<Vec<_>>()[..], &leaf, &files].concat());
    let mut blobs = Blobs::default();
    let (root, _) = blobs.image("amd64", "x");
    blobs.write_layout(&place.path("layout"), &root);
    // Filled without a certificate, asked with one.
    let plain = Registry::start(place.0.path(), "");
    push(&place.path("layout"), &format!("{}/image:tag", plain.address), &[]);
    drop(plain);
    let tls = format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
    let registry = Registry::start(place.0.path(), &tls);
    let proxy = Proxy::to(&registry.address);
    let ask = |name: &str, trusted: bool| {
        let mut command = place.command(name, &[]);
        command.env("HTTPS_PROXY", format!("http://{}", proxy.address)).env_remove("NO_PROXY").env_remove("no_proxy");
        if trusted {
            command.env("SSL_CERT_FILE", &certificate);
        }
        command.output().unwrap()
    };
    let refused = |output: &Output| {
        let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
        assert!(!output.status.success() && said.contains("certificate"), "{said}");
        assert!(place.kept().is_empty() && !place.path("out").exists());
    };
    refused(&ask("registry.test/image:tag", false));
    refused(&ask("another.test/image:tag", true));
    let made = place.made(&ask("registry.test/image:tag", true));
    assert_eq!(made, place.succeed(&format!("oci:{}", place.path("layout").display()), &[]));
    assert!(proxy.asked().iter().any(|line| line.starts_with("CONNECT registry.test:443")), "{:?}", proxy.asked());
}

#[test]
fn a_broken_pull_leaves_nothing_and_can_be_done_again() {
    type Break = fn(&mut Answer);
    let breaks: [(&str, Break); 7] = [
        ("broke off after 100000 of", |answer| answer.cut = Some(100_000)),
        ("broke off after 100000 of", |answer| {
            answer.cut = Some(100_000);
            answer.endless = true;
        }),
        ("what came has digest sha256:", |answer| answer.body[5000] ^= 1),
        ("and its descriptor says", |answer| answer.body.push(0)),
        ("more than the", |answer| {
            answer.body.resize(1_000_000, 0);
            answer.endless = true;
        }),
        ("HTTP 500", |answer| answer.status = 500),
        ("HTTP 404", |answer| *answer = Answer::new(404, "")),
    ];
    let mut blobs = Blobs::default();
    let (root, layer) = blobs.image("amd64", "x");
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
    let mut blobs = Blobs::default();
    let (root, layer) = blobs.image("amd64", "x");
    let server = Server::start(move |request| registry(&blobs, &root, request));
    let name = format!("{}/image", server.address);
    let both = ["one", "two"].map(|output| {
        let output = place.path(output);
        place.command(&name, &["-o", output.to_str().unwrap()]).spawn().unwrap()
    });
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
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
            answer = Answer::new(500, "");
        } else if others.iter().any(|layer| request.path.ends_with(layer)) {
            answer.drip = true;
        }
        answer
    });
    let said = place.fail(&format!("{}/image", server.address), &[]);
    assert!(said.contains("cannot fetch layer 2 of 6") && said.contains("HTTP 500"), "{said}");
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

#[test]
fn a_password_and_a_token_stay_with_their_registry() {
    let place = Place::new();
    let mut blobs = Blobs::default();
    let (root, layer) = blobs.image("amd64", "x");
    let stored = blobs.0[&layer].clone();
    let foreign = Server::start(move |_| Answer::new(200, stored.clone()));
    // The same server under another name: another port is another server.
    let elsewhere = format!("http://{}/elsewhere", foreign.address);
    let tokens = Server::start(|request| {
        let whole = request.path.contains("scope=repository%3Aimage%3Apull") && request.path.contains("service=it");
        if whole { Answer::new(200, r#"{"token":"T1"}"#) } else { Answer::new(400, "") }
    });
    let realm = format!("Bearer realm=\"http://{}/token?x=y\",service=\"it\"", tokens.address);
    let answered = Arc::new(AtomicUsize::new(0));
    let server = Server::start(move |request| {
        if request.authorization.as_deref() != Some("Bearer T1") {
            return Answer::new(401, "").with("WWW-Authenticate", realm.clone());
        }
        if !request.path.ends_with(&layer) {
            return registry(&blobs, &root, request);
        }
        // The token runs out in the middle, once.
        if answered.fetch_add(1, Ordering::SeqCst) == 0 {
            return Answer::new(401, "");
        }
        Answer::new(307, "").with("Location", elsewhere.clone())
    });
    fs::create_dir(place.path("docker")).unwrap();
    let config = json!({ "auths": { &server.address: { "username": "user", "password": "secret" } } });
    fs::write(place.path("docker/config.json"), config.to_string()).unwrap();
    place.succeed(&format!("{}/image", server.address), &[]);
    let seen = |server: &Server| server.requests().into_iter().map(|request| request.authorization).collect::<Vec<_>>();
    assert_eq!(seen(&foreign), [None]);
    assert_eq!(seen(&tokens), [Some("Basic dXNlcjpzZWNyZXQ=".to_owned()), Some("Basic dXNlcjpzZWNyZXQ=".to_owned())]);
    assert!(seen(&server).iter().flatten().all(|header| header == "Bearer T1"));
}

#[test]
fn what_a_registry_says_wrong_is_refused() {
    let plain = layer("x");
    type Make = Box<dyn Fn(&mut Blobs) -> Value>;
    let evil: Vec<(&str, Make, &str)> = vec![
        (
            "an index that is a manifest",
            Box::new(|blobs| {
                let manifest = blobs.image("amd64", "x").0;
                let text = String::from_utf8(blobs.0[&digest_of(&manifest)].clone()).unwrap();
                let mut value: Value = serde_json::from_str(&text).unwrap();
                value["manifests"] = json!([]);
                blobs.document(MANIFEST, &value)
            }),
            "an index and a manifest at once",
        ),
        (
            "an index that is called a manifest",
            Box::new(|blobs| {
                let manifest = blobs.image("amd64", "x").0;
                blobs.document(MANIFEST, &json!({ "schemaVersion": 2, "mediaType": MANIFEST, "manifests": [manifest] }))
            }),
            "has the form of an index",
        ),
        (
            "a wrong machine",
            Box::new(|blobs| {
                let mut manifest = blobs.image("arm64", "x").0;
                manifest["platform"]["architecture"] = "amd64".into();
                blobs.index(&[manifest])
            }),
            "linux/arm64",
        ),
        (
            "a path for a digest",
            Box::new(|blobs| {
                let layer = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:../../../etc/passwd", "size": 1 });
                blobs.manifest("amd64", b"", layer)
            }),
            "is no digest",
        ),
        (
            "a negative size",
            Box::new(|blobs| {
                let mut manifest = blobs.image("amd64", "x").0;
                manifest["size"] = json!(-1);
                blobs.index(&[manifest])
            }),
            "-1",
        ),
        (
            "a size beyond all disks",
            Box::new({
                let plain = plain.clone();
                move |blobs| {
                    let mut layer = blobs.add("application/vnd.oci.image.layer.v1.tar", &plain);
                    layer["size"] = json!(u64::MAX);
                    blobs.manifest("amd64", &plain, layer)
                }
            }),
            "--max-size",
        ),
        (
            "a document of many gigabytes",
            Box::new(|blobs| {
                let mut manifest = blobs.image("amd64", "x").0;
                manifest["size"] = json!(1_u64 << 40);
                blobs.index(&[manifest])
            }),
            "4194304 at most are read",
        ),
        ("no JSON", Box::new(|blobs| blobs.add(INDEX, b"\xff\0nonsense")), "is damaged"),
        ("a long document", Box::new(|blobs| blobs.add(INDEX, &vec![b' '; 5 << 20])), "more than 4194304 bytes"),
    ];
    for (what, make, expected) in evil {
        let place = Place::new();
        let mut blobs = Blobs::default();
        let root = make(&mut blobs);
        let server = Server::start(move |request| registry(&blobs, &root, request));
        let said = place.fail(&format!("{}/image", server.address), &[]);
        assert!(said.contains(expected), "{what}: {said}");
        assert!(said.len() < 2000 && !said.contains('\u{1b}'), "{what}: {said}");
    }

    // Another document than the one that was asked for; a text that would colour the terminal; a token that would be two headers.
    let place = Place::new();
    let mut blobs = Blobs::default();
    let (root, _) = blobs.image("amd64", "x");
    let wanted = digest_of(&root);
    let (other, _) = blobs.image("amd64", "y");
    let other = blobs.0[&digest_of(&other)].clone();
    let server = Server::start(move |request| match request.path.rsplit('/').nth(1) {
        Some("manifests") if request.path.contains("image") => Answer::new(200, other.clone()),
        _ => registry(&blobs, &root, request),
    });
    let said = place.fail(&format!("{}/image@{wanted}", server.address), &[]);
    assert!(said.contains("what came has digest") && place.kept().is_empty(), "{said}");
    let said = place.fail(&format!("{}/no@sha256:{}", server.address, "0".repeat(64)), &[]);
    assert!(said.contains("manifest\\u{1b}[31m unknown"), "{said}");

    for answer in ["{\"token\":\"a\\r\\nX: y\"}", "{\"token\":\"\"}", "[1]", ""] {
        let tokens = Server::start(move |_| Answer::new(200, answer));
        let realm = format!("Bearer realm=\"http://{}/\"", tokens.address);
        let server = Server::start(move |_| Answer::new(401, "").with("WWW-Authenticate", realm.clone()));
        let said = place.fail(&format!("{}/image", server.address), &[]);
        assert!(said.contains("token"), "{said}");
    }
}

#[test]
fn inspect_fetches_no_layer() {
    let place = Place::new();
    let mut blobs = Blobs::default();
    let (root, layer) = blobs.image("amd64", "x");
    let server = Server::start(move |request| registry(&blobs, &root, request));
    let output = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
        .args(["oci", "inspect", &format!("{}/image", server.address), "--platform", "linux/amd64"])
        .env("INITRAMFS_OVERLAY_CACHE", place.path("cache"))
        .output()
        .unwrap();
    let mut told = String::new();
    output.stdout.as_slice().read_to_string(&mut told).unwrap();
    assert!(output.status.success() && told.contains(&layer), "{told}");
    assert!(!place.is_kept(&layer) && !server.requests().iter().any(|request| request.path.ends_with(&layer)));
}
