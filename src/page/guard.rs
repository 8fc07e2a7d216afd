//! Who may read the page, and what a browser may do with it.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// What every answer says: nothing from elsewhere, nothing in a frame, nothing kept but what is asked for again.
const HEAD: [(HeaderName, &str); 5] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// Where the page is served.
#[derive(Debug, Clone, Copy)]
pub(super) struct Guard {
    address: SocketAddr,
}

impl Guard {
    pub(super) fn new(address: SocketAddr) -> Guard {
        Guard { address }
    }

    /// True when the request names this host by an address, or by the name that only this host can mean. A web site that
    /// has its own name lead to this host (DNS rebinding) is told apart by just that name.
    fn admits(self, headers: &HeaderMap) -> bool {
        let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|digit| digit.is_ascii_digit()) => name,
            _ => host,
        };
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        match bare.parse::<IpAddr>() {
            // Behind 0.0.0.0 is any of this host's addresses.
            Ok(address) => self.address.ip().is_unspecified() || address == self.address.ip(),
            Err(_) => name.eq_ignore_ascii_case("localhost") && self.address.ip().is_loopback(),
        }
    }
}

/// Lets a request through that may pass, and tells the browser what it may do with the answer.
pub(super) async fn guard(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let mut answer = if guard.admits(request.headers()) {
        next.run(request).await
    } else {
        let at = guard.address;
        let text = format!("this page is served as http://{at}/ and by no other name\n");
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    };
    for (name, value) in HEAD {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(served: &str, host: &str) -> bool {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())]);
        Guard::new(served.parse().unwrap()).admits(&headers)
    }

    #[test]
    fn a_name_that_leads_here_from_elsewhere_is_refused() {
        for host in ["127.0.0.1:9470", "127.0.0.1", "localhost:9470", "LOCALHOST"] {
            assert!(admits("127.0.0.1:9470", host), "{host}");
        }
        assert!(admits("[::1]:9470", "[::1]:9470") && admits("[::1]:9470", "[::1]"));
        assert!(admits("192.0.2.1:9470", "192.0.2.1:9470") && admits("0.0.0.0:9470", "192.0.2.1:9470"));
        for host in ["weft.example:9470", "127.0.0.1.weft.example", "192.0.2.1", "localhost.weft.example", "", ":9470"]
        {
            assert!(!admits("127.0.0.1:9470", host), "{host}");
        }
        assert!(!admits("192.0.2.1:9470", "localhost:9470") && !admits("0.0.0.0:9470", "weft.example"));
        assert!(!Guard::new("127.0.0.1:9470".parse().unwrap()).admits(&HeaderMap::new()));
    }
}
