//! Tokens made and read by lab itself, so that a check can sign what the program never would.

use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use anyhow::Context;
use anyhow::Result;
use anyhow::bail;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::Hmac;
use hmac::KeyInit;
use hmac::Mac;
use serde_json::Value;
use serde_json::json;
use sha2::Sha256;
use sha2::Sha384;
use sha2::Sha512;

use crate::credentials::JWT_SECRET;
use crate::credentials::USERNAME;

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The claims of a good token.
pub fn claims() -> Value {
    json!({"sub": USERNAME, "iat": now(), "exp": now() + 3600})
}

/// A token signed as `algorithm` says, with any header and claims.
pub fn signed(algorithm: &str, claims: &Value, secret: &str) -> Result<String> {
    let header = json!({"alg": algorithm, "typ": "JWT"});
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = match algorithm {
        "HS256" => sign::<Hmac<Sha256>>(&signed, secret)?,
        "HS384" => sign::<Hmac<Sha384>>(&signed, secret)?,
        "HS512" => sign::<Hmac<Sha512>>(&signed, secret)?,
        _ => Vec::new(),
    };
    Ok(format!("{signed}.{}", encode(signature)))
}

pub fn good() -> Result<String> {
    signed("HS256", &claims(), JWT_SECRET)
}

pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Header and claims of a token.
pub fn decode(token: &str) -> Result<(Value, Value)> {
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, _] = parts.as_slice() else { bail!("a token of {} parts", parts.len()) };
    let json = |part: &str| -> Result<Value> {
        Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part)?)?)
    };
    Ok((json(header).context("the token's header")?, json(claims).context("the token's claims")?))
}

pub fn signature(text: &str, secret: &str) -> Result<String> {
    Ok(encode(sign::<Hmac<Sha256>>(text, secret)?))
}

fn sign<M: Mac + KeyInit>(text: &str, secret: &str) -> Result<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(secret.as_bytes()).context("not a key")?;
    mac.update(text.as_bytes());
    Ok(mac.finalize().into_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7515, appendix A.1, has a key of its own; this one is from jwt.io's debugger.
    #[test]
    fn a_token_is_signed_as_others_sign_it() {
        let header_and_claims = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ";
        let signature = sign::<Hmac<Sha256>>(header_and_claims, "your-256-bit-secret").unwrap();
        assert_eq!(encode(signature), "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c");
    }

    #[test]
    fn claims_come_back() {
        let claims = claims();
        let (header, decoded) = decode(&signed("HS256", &claims, "x").unwrap()).unwrap();
        assert_eq!(header["alg"], "HS256");
        assert_eq!(decoded, claims);
    }
}
