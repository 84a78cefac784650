//! Mirrors that `registries.conf` names, and registries on this machine.

use super::*;

fn configure(place: &Place, text: &str) {
    fs::write(place.path("registries.conf"), text).unwrap();
}

#[test]
fn a_mirror_is_asked_first_and_the_registry_when_it_fails() {
    let (blobs, root, layer) = Blobs::of_image("x");
    let (copy, of_root) = (blobs.clone(), root.clone());
    let registry_itself = Server::start(move |request| registry(&copy, &of_root, request));
    let name = format!("{}/team/image", registry_itself.address);
    // One that has all, one that has the manifest alone, one that has nothing.
    type Fails = fn(&str) -> bool;
    let mirrors: [(Fails, bool); 3] = [(|_| false, false), (|path| path.contains("/blobs/"), true), (|_| true, true)];
    for (fails, is_asked) in mirrors {
        let place = Place::new();
        let before = registry_itself.requests().len();
        let (copy, of_root) = (blobs.clone(), root.clone());
        let mirror = Server::start(move |request| match fails(&request.path) {
            true => Answer::new(404, ""),
            false => registry(&copy, &of_root, request),
        });
        configure(
            &place,
            &format!(
                "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}/cached\"\n",
                registry_itself.address, mirror.address
            ),
        );
        // A name and a password are the registry's.
        let output = place.ask_with_password(&name, "secret");
        let said = errors(&output);
        place.made(&output);
        assert!(place.is_kept(&layer));
        assert!(mirror.requests().iter().any(|request| request.path.starts_with("/v2/cached/team/image/manifests/")));
        assert!(mirror.requests().iter().all(|request| request.authorization.is_none()));
        assert_eq!(registry_itself.requests().len() > before, is_asked, "{said}");
        assert_eq!(
            said.contains("warning: ") && said.contains(&format!("asking {}", registry_itself.address)),
            is_asked,
            "{said}"
        );
    }
    let place = Place::new();
    configure(&place, "[[registry]\n");
    assert!(place.fail(&name, &[]).contains("registries.conf cannot be used"));
    configure(&place, &format!("[[registry]]\nlocation = \"{}\"\nblocked = true\n", registry_itself.address));
    let output = place.command(&name, &[]).output().unwrap();
    assert!(errors(&output).contains("registries.conf blocks"), "{output:?}");
}

/// A registry on this machine may speak TLS, and is asked for that first.
#[test]
fn a_registry_on_this_machine_with_tls() {
    if !["docker-registry", "skopeo", "openssl"].into_iter().all(installed) {
        return;
    }
    let place = Place::new();
    let (registry, certificate) = real::with_tls(&place, "localhost");
    let port = registry.address.rsplit(':').next().unwrap();
    let name = format!("localhost:{port}/image:tag");
    let output = place.command(&name, &[]).env("SSL_CERT_FILE", &certificate).output().unwrap();
    place.made(&output);
    // One whose certificate nobody knows is refused, and not asked in plain text.
    let _ = fs::remove_dir_all(place.path("cache"));
    let said = place.fail(&name, &[]).to_lowercase();
    assert!(said.contains("certificate"), "{said}");
}
