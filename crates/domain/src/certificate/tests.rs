use super::*;

fn key(seed: u8) -> CertificateKey {
    CertificateKey::from_seed(&[seed; 32]).unwrap()
}

fn statement() -> Statement {
    Statement {
        id: CertificateId::parse("crt_a").unwrap(),
        key: KeyId::parse("key_0123456789").unwrap(),
        revoked_at: Timestamp::from_secs(1_772_452_800),
        reason: RevocationReason::Compromised,
        immediate: true,
        authorized_by: "operator op_a (ann)".into(),
        affected_services: vec!["192.0.2.7 (anthropic-sdk-python)".into()],
        last_used_at: None,
        compliance_notes: "ticket 7, „geleakt“".into(),
        audit: AuditPosition { number: 12, seq: 34, head: Digest([9; 32]) },
    }
}

#[test]
fn a_certificate_has_the_fields_of_the_promise_and_verifies() {
    let certificate = statement().sign(&key(1));
    insta::assert_json_snapshot!(certificate);
    let verified = verify(&certificate, &key(1).public()).unwrap();
    assert_eq!((verified.key_id.as_str(), verified.audit_number), ("key_0123456789", 12));
    // White space and the order of names prove nothing and break nothing.
    let pretty = serde_json::to_string_pretty(&certificate).unwrap();
    assert!(verify(&serde_json::from_str(&pretty).unwrap(), &key(1).public()).is_ok());
}

#[test]
fn every_changed_added_or_missing_field_is_found() {
    let certificate = statement().sign(&key(1));
    let names: Vec<String> = certificate.as_object().unwrap().keys().cloned().collect();
    for name in &names {
        let mut changed = certificate.clone();
        changed[name] = "another".into();
        assert!(verify(&changed, &key(1).public()).is_err(), "{name} changed");
        let mut missing = certificate.clone();
        missing.as_object_mut().unwrap().remove(name);
        assert!(verify(&missing, &key(1).public()).is_err(), "{name} missing");
    }
    let mut added = certificate.clone();
    added["approved"] = true.into();
    assert_eq!(verify(&added, &key(1).public()), Err(CertificateError::Changed));
    // Who rehashes still cannot sign.
    let mut forged = statement();
    forged.reason = RevocationReason::UserRequest;
    let mut forged = forged.sign(&key(2));
    assert_eq!(verify(&forged, &key(1).public()), Err(CertificateError::OtherKey));
    forged["signature"]["public_key_id"] = key(1).public().id().into();
    assert_eq!(verify(&forged, &key(1).public()), Err(CertificateError::Signature));
    assert_eq!(
        verify(&serde_json::json!([]), &key(1).public()),
        Err(CertificateError::Malformed("certificate"))
    );
}

#[test]
fn a_public_key_reads_back_from_every_form() {
    let public = key(1).public();
    assert_eq!(CertificatePublicKey::parse(&public.to_pem()), Ok(public));
    assert_eq!(CertificatePublicKey::parse(&public.to_pem().replace('\n', "\r\n")), Ok(public));
    assert_eq!(public.id().len(), 16);
    for bad in ["", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "zz", "00"] {
        assert_eq!(CertificatePublicKey::parse(bad), Err(PublicKeyError), "{bad}");
    }
}
