use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
    date_time_ymd,
};
use rustls::{crypto::aws_lc_rs, pki_types::PrivateKeyDer, sign::CertifiedKey};

use super::*;
use crate::tls::{ClientAuth, ClientAuthorities, TlsIdentity};

const ID: &str = "spiffe://example.org/ci/build";

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2035, 1, 1));
    params
}

fn caller(uris: &[&str]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
    (params.not_before, params.not_after) = (date_time_ymd(2025, 1, 1), date_time_ymd(2030, 1, 1));
    params
}

fn listener(root: &CertificateDer<'static>) -> Tls {
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let certified = CertifiedKey::from_der(vec![own.cert.der().clone()], key, &aws_lc_rs::default_provider());
    let callers = ClientAuthorities { roots: vec![root.clone()], auth: ClientAuth::Optional };
    Tls::new(TlsIdentity::new(Arc::new(certified.unwrap()), Some(&callers)).unwrap())
}

fn at(year: i32) -> Timestamp {
    Timestamp::from_secs(date_time_ymd(year, 6, 1).unix_timestamp())
}

#[test]
fn a_connection_proves_nothing_once_any_certificate_of_its_chain_is_over() {
    let key = || KeyPair::generate().unwrap();
    let (root_key, middle_key) = (key(), key());
    let root = Issuer::new(authority(), root_key);
    let root_der = authority().self_signed(root.key()).unwrap().der().clone();
    let mut between = authority();
    between.not_after = date_time_ymd(2027, 1, 1);
    let middle_der = between.signed_by(&middle_key, &root).unwrap().der().clone();
    let middle = Issuer::new(between, middle_key);
    let leaf = caller(&[ID]).signed_by(&key(), &middle).unwrap().der().clone();
    let tls = listener(&root_der);
    let peer = PeerCertificate::read(&tls, tls.generation(), &[leaf, middle_der]).unwrap().unwrap();
    assert_eq!(peer.good(at(2026)).unwrap().spiffe.as_ref().unwrap().as_str(), ID);
    assert!(peer.good(at(2028)).is_none(), "who signed it is over");
    // One that was sent along and is not needed does no harm.
    let direct = caller(&[ID]).signed_by(&key(), &root).unwrap().der().clone();
    let mut stray = authority();
    stray.not_after = date_time_ymd(2026, 1, 1);
    let stray = stray.self_signed(&key()).unwrap().der().clone();
    let odd = CertificateDer::from(b"no certificate".to_vec());
    let chain = [direct, stray, odd];
    let peer = PeerCertificate::read(&tls, tls.generation(), &chain).unwrap().unwrap();
    assert!(peer.good(at(2028)).is_some());
    assert!(peer.good(at(2031)).is_none(), "it is over itself");
}

#[test]
fn only_what_is_one_svid_and_no_authority_has_a_spiffe_id() {
    let id = |params: CertificateParams| {
        let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone();
        spiffe_id(&X509Certificate::from_der(&der).unwrap().1)
    };
    assert_eq!(id(caller(&[ID])).unwrap().as_str(), ID);
    let mut digital = caller(&[ID]);
    digital.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    assert_eq!(id(digital).unwrap().as_str(), ID);
    let mut dns = caller(&[ID]);
    dns.subject_alt_names.push(SanType::DnsName("build.example".try_into().unwrap()));
    assert_eq!(id(dns).unwrap().as_str(), ID);
    for odd in [&[][..], &[ID, "spiffe://example.org/admin"], &[ID, "https://example.org/"], &[ID, ID]] {
        assert_eq!(id(caller(odd)), None, "{odd:?}");
    }
    for odd in
        ["SPIFFE://example.org/ci/build", "spiffe://Example.org/ci", "spiffe://example.org/ci/../admin"]
    {
        assert_eq!(id(caller(&[odd])), None, "{odd}");
    }
    for usage in [KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign] {
        let mut signs = caller(&[ID]);
        signs.key_usages = vec![KeyUsagePurpose::DigitalSignature, usage];
        assert_eq!(id(signs), None, "{usage:?}");
    }
    // A second name that is no text: SEQUENCE { [6] "spiffe://a/b", [6] ff }.
    let mut names = vec![0x30, 17, 0x86, 12];
    names.extend(b"spiffe://a/b");
    names.extend([0x86, 1, 0xff]);
    let mut unread = caller(&[]);
    unread.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 5, 29, 17], names)];
    assert_eq!(id(unread), None);
}
