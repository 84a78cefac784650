//! Credentials: the server that each password and each token is sent to, and the servers that the command trusts.

use super::*;

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
    let (blobs, root, _) = Blobs::of_image("x");
    blobs.write_layout(&place.path("layout"), &root);
    let name = format!("{}/image", registry.address);
    push(&place.path("layout"), &name, &["--dest-creds", "user:secret"]);

    assert!(place.fail(&name, &[]).contains("HTTP 401: it wants a name and a password"));
    let output = place.ask_with_password(&name, "wrong\n");
    let said = errors(&output);
    assert!(!output.status.success() && said.contains("not accepted") && !said.contains("wrong"), "{said}");
    let made = place.made(&place.ask_with_password(&name, "secret\n"));

    // The three ways in which docker keeps a password.
    let helper = place.path("docker-credential-mine");
    let script = format!(
        "#!/bin/sh\nread server\n[ \"$1 $server\" = 'get {}' ] || {{ echo 'credentials not found in native keychain'; exit 1; }}\n\
         echo '{{\"Username\":\"user\",\"Secret\":\"secret\"}}'\n",
        registry.address
    );
    support::write_program(&helper, script.as_bytes());
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
    let said = errors(&output);
    assert!(said.contains("warning: ") && said.contains("HTTP 401"), "{said}");
    fs::write(place.path("docker/config.json"), "{").unwrap();
    assert!(place.fail(&name, &[]).contains("config.json cannot be used"));
}

/// Returns a server of tokens, and a registry that sends there.
fn with_tokens(tokens: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> (Server, Server) {
    let tokens = Server::start(tokens);
    let realm = format!("Bearer realm=\"http://{}/token\",service=\"it\"", tokens.address);
    let (blobs, root, _) = Blobs::of_image("x");
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
        let said = errors(&output);
        assert!(!output.status.success() && said.contains("refuses that name and password"), "{file}: {said}");
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
    assert!(errors(&output).contains("it gave no token (HTTP 401)"), "{output:?}");
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
    assert!(said.contains("refuses the stored identity token; log in again"), "{said}");
    assert!(!said.contains("old"), "{said}");

    // Helpers hand one out under the name <token>. It goes nowhere else, whatever the server of tokens says.
    let foreign = Server::start(|_| Answer::new(200, r#"{"access_token":"T1"}"#));
    let elsewhere = format!("http://{}/token", foreign.address);
    let (_, server) = with_tokens(move |_| Answer::new(307, "").with("Location", elsewhere.clone()));
    let helper = place.path("docker-credential-mine");
    let script = b"#!/bin/sh\ncat >/dev/null\necho '{\"Username\":\"<token>\",\"Secret\":\"I/1\"}'\n";
    support::write_program(&helper, script);
    fs::write(place.path("docker/config.json"), json!({ "credsStore": "mine" }).to_string()).unwrap();
    let path = format!("{}:{}", place.0.path().display(), std::env::var("PATH").unwrap());
    let output = place.command(&format!("{}/image", server.address), &[]).env("PATH", &path).output().unwrap();
    let said = errors(&output);
    assert!(
        !output.status.success() && said.contains("no token for the stored identity token") && said.contains("307"),
        "{said}"
    );
    assert!(foreign.requests().is_empty());

    // Where a password is wanted it is none.
    let server = Server::start(|_| Answer::new(401, "").with("WWW-Authenticate", "Basic realm=\"x\""));
    let output = place.command(&format!("{}/image", server.address), &[]).env("PATH", &path).output().unwrap();
    let said = errors(&output);
    assert!(said.contains("the stored credential is an identity token"), "{said}");
    assert!(server.requests().iter().all(|request| request.authorization.is_none()));
}

#[test]
fn a_registry_with_a_certificate() {
    if !["docker-registry", "skopeo", "openssl"].into_iter().all(installed) {
        return;
    }
    let place = Place::new();
    let (registry, certificate) = real::with_tls(&place, "registry.test");
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
        let said = errors(output).to_lowercase();
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
fn a_password_and_a_token_stay_with_their_registry() {
    let place = Place::new();
    let (blobs, root, layer) = Blobs::of_image("x");
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
