//! Layouts and documents that are odd, and what container engines make of them.

use super::*;

#[test]
fn an_entry_that_cannot_be_read_hides_no_image() {
    let made = Made::new();
    let good = made.manifest("amd64", None);
    for (odd, said) in [
        (Value::Null, "an entry of its index is damaged"),
        (with(good.clone(), "digest", json!(format!("blake3:{}", "0".repeat(64)))), "`blake3:"),
        (with(good.clone(), "size", json!(-1)), "-1"),
        (json!({ "mediaType": "text/plain" }), "missing field"),
    ] {
        made.index(&[odd.clone(), good.clone()]);
        assert_eq!(made.open("", "linux/amd64").unwrap().digest.unwrap().to_string(), good["digest"], "{odd}");
        made.index(&[odd, made.manifest("386", None)]);
        assert!(made.refusal().contains(said), "{said}: {}", made.refusal());
    }
}

#[test]
fn one_of_several_images_is_not_guessed() {
    let made = Made::new();
    let one = made.manifest("amd64", None);
    let other = made.changed(|config| config["author"] = json!("x"), |_| {});
    let named = |descriptor: &Value, name: &str| {
        let mut tagged = tagged(descriptor.clone(), "latest");
        tagged["annotations"]["io.containerd.image.name"] = json!(name);
        tagged
    };
    let [of_one, of_other] = [&one, &other].map(|descriptor| of(descriptor.clone(), "amd64", None));
    for pair in [
        [one.clone(), other.clone()],
        [of_one, of_other],
        [named(&one, "docker.io/library/a:latest"), named(&other, "docker.io/library/b:latest")],
    ] {
        made.index(&pair);
        let said = made.refusal();
        assert!(said.contains("several images for linux/amd64") && said.contains("by its digest"), "{said}");
        for descriptor in [&one, &other] {
            let digest = descriptor["digest"].as_str().unwrap();
            let image = made.open(&format!(":{digest}"), "linux/amd64").unwrap();
            assert_eq!(image.digest.unwrap().to_string(), digest);
        }
    }
    let image = made.open(":docker.io/library/b:latest", "linux/amd64").unwrap();
    assert_eq!(image.digest.unwrap().to_string(), other["digest"]);
    // In the index of an image the first one that fits is taken, as everywhere.
    made.index(&[made.document(INDEX, &json!({ "schemaVersion": 2, "manifests": [other, one] }))]);
    assert_eq!(made.open("", "linux/amd64").unwrap().digest.unwrap().to_string(), other["digest"]);
}

#[test]
fn configs_that_registries_gave_a_wrong_type_are_configs() {
    for media_type in ["application/octet-stream", "application/json", "text/html"] {
        let made = Made::new();
        let typed = |manifest: &mut Value| manifest["config"]["mediaType"] = json!(media_type);
        made.index(&[made.changed(|_| {}, typed)]);
        assert_eq!(made.open("", "linux/amd64").unwrap().layers().len(), 1, "{media_type}");
        made.index(&[made.changed(|config| *config = json!({ "key": "value" }), typed)]);
        assert!(made.refusal().contains("is not an image: its config is"), "{}", made.refusal());
    }
}

#[test]
fn the_case_of_names_in_documents_does_not_count() {
    let made = Made::new();
    let changed = |manifest: &mut Value| {
        let map = manifest.as_object_mut().unwrap();
        let layers = map.remove("layers").unwrap();
        map.insert("Layers".to_owned(), layers);
    };
    made.index(&[made.changed(|_| {}, changed)]);
    assert_eq!(made.open("", "linux/amd64").unwrap().layers().len(), 1);
    made.index(&[made.changed(|_| {}, |manifest| manifest["Layers"] = json!([]))]);
    assert!(made.refusal().contains("it has both `"), "{}", made.refusal());
}
