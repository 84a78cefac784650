//! Layers that the registry does not have, and the addresses that their descriptors name.

use super::*;

/// Returns an image whose layer is not among its blobs and is to be had at `urls`: the blobs, the manifest, and the layer with its digest.
fn foreign(urls: &[String]) -> (Blobs, Value, Vec<u8>, String) {
    let mut blobs = Blobs::default();
    let plain = layer("x");
    let stored = gzip::gzip(&plain);
    let mut descriptor = blobs.add("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", &stored);
    descriptor["urls"] = json!(urls);
    let name = digest_of(&descriptor);
    let root = blobs.manifest("amd64", &plain, descriptor);
    blobs.0.remove(&name);
    (blobs, root, stored, name)
}

/// Starts a registry with a password.
fn locked(blobs: Blobs, root: Value) -> Server {
    Server::start(move |request| match request.authorization {
        Some(_) => registry(&blobs, &root, request),
        None => Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""),
    })
}

#[test]
fn a_foreign_layer_comes_from_its_address_and_no_password_goes_there() {
    let fate = AtomicUsize::new(0);
    let (.., stored, name) = foreign(&[]);
    let whole = stored.len();
    let elsewhere = Server::start(move |request| match (request.path.as_str(), fate.fetch_add(1, Ordering::SeqCst)) {
        ("/layer", 2) => Answer::new(503, ""),
        ("/wrong", _) => Answer::new(200, vec![7; stored.len()]),
        ("/layer", _) => Answer::new(200, stored.clone()).in_parts(64 << 10),
        _ => Answer::new(404, ""),
    });
    let urls = ["gone", "wrong", "layer"].map(|path| format!("http://{}/{path}", elsewhere.address));
    let (blobs, root, ..) = foreign(&urls);
    let server = locked(blobs, root);
    let place = Place::new();
    fs::create_dir_all(place.path("docker")).unwrap();
    let config = json!({ "auths": { &server.address: { "username": "user", "password": "secret" } } });
    fs::write(place.path("docker/config.json"), config.to_string()).unwrap();
    let image = format!("{}/image", server.address);
    let made = place.succeed(&image, &[]);
    assert!(place.is_kept(&name) && place.wrong().is_empty());
    // In pieces, each once, behind what was wrong.
    assert_eq!(elsewhere.sent(), 2 * whole);
    let asked = elsewhere.requests();
    assert!(asked.len() > 4 && asked.iter().all(|request| request.authorization.is_none()), "{asked:?}");
    assert!(server.requests().iter().any(|request| request.path.ends_with(&name)), "the registry is asked first");
    assert_eq!(place.succeed(&image, &[]), made);
    assert_eq!(elsewhere.requests().len(), asked.len(), "it is in the cache");
}

#[test]
fn what_is_wrong_at_an_address_is_told_and_not_kept() {
    let elsewhere = Server::start(|request| match request.path.as_str() {
        "/other" => Answer::new(200, "something else"),
        "/wrong" => Answer::new(200, vec![7; request.from.map_or_else(|| foreign(&[]).2.len(), |_| 0)]),
        _ => Answer::new(404, ""),
    });
    let url = |path: &str| format!("http://{}/{path}", elsewhere.address);
    let mut urls = vec![url("gone"), url("other"), url("wrong"), "ftp://a.test/layer".to_owned()];
    urls.push("http://user:secret@a.test/layer".to_owned());
    urls.extend((0..5).map(|number| url(&format!("more{number}"))));
    let (blobs, root, _, name) = foreign(&urls);
    let server = Server::start(move |request| registry(&blobs, &root, request));
    let place = Place::new();
    let said = place.fail(&format!("{}/image", server.address), &[]);
    let size = foreign(&[]).2.len();
    for part in [
        format!("layer 1 of 1 ({name})"),
        "the registry answers HTTP 404".to_owned(),
        format!("{}: it answers HTTP 404", urls[0]),
        format!("{}: that place has 14 bytes of it, and its descriptor says {size}", urls[1]),
        format!("{}: the received content has digest sha256:", urls[2]),
        "ftp://a.test/layer: it is not an address of the web (https)".to_owned(),
        "http://user:secret@a.test/layer: it has a name or password in it".to_owned(),
        "2 more addresses are not asked".to_owned(),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    assert!(!place.is_kept(&name) && !elsewhere.requests().iter().any(|request| request.path == "/more3"));
}
