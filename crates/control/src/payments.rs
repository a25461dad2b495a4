//! Payment notices: `POST /payments/v1/notify/{provider}`. Whoever can reach the listener may send one; its signature is the
//! proof. What was paid is booked into an account of prepaid credit, once.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use claviger_domain::{
    address::counting_block,
    payment::{Decimal, MAX_NOTICE, Notice, NoticeError, Payment, alipay, webhook, wechat},
};
use claviger_service::{Caller, ServiceError, refusals::RefusalSubject};
use serde_json::json;

use crate::{extract::Visitor, problem::Problem, state::ControlState};

/// Where notices go; the provider's name follows.
pub const PATH: &str = "/payments/v1/notify/{provider}";
/// How long a notice may take to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// A payment provider.
#[derive(Debug)]
pub struct Provider {
    /// Its name, in the path and before the references of its payments.
    pub name: String,
    /// How its notices are verified.
    pub scheme: Scheme,
    /// The currency that it pays in (ISO 4217).
    pub currency: String,
    /// What one unit of it is in dollars.
    pub usd_per_unit: Decimal,
}

/// How notices are verified.
#[derive(Debug)]
pub enum Scheme {
    /// Standard Webhooks.
    Webhook(Box<webhook::Secret>),
    /// Alipay.
    Alipay(alipay::Merchant),
    /// WeChat Pay.
    WeChatPay(Box<wechat::Merchant>),
}

/// Those that there are.
pub type Providers = Arc<[Provider]>;

/// Why a notice was not taken.
enum Refused {
    Notice(NoticeError),
    Currency,
    Service(ServiceError),
    Unread(StatusCode, &'static str),
}

impl From<NoticeError> for Refused {
    fn from(error: NoticeError) -> Self {
        Self::Notice(error)
    }
}

impl From<ServiceError> for Refused {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl Refused {
    fn problem(self) -> Problem {
        match self {
            Self::Notice(error) => {
                let (status, kind) = match error {
                    NoticeError::Unsigned(_) | NoticeError::Signature | NoticeError::Stale => {
                        (StatusCode::UNAUTHORIZED, "notice_not_verified")
                    }
                    NoticeError::Unreadable(_) => (StatusCode::BAD_REQUEST, "notice_unreadable"),
                    NoticeError::NotOurs(_) => (StatusCode::FORBIDDEN, "notice_for_another"),
                };
                Problem::new(status, kind, error.to_string())
            }
            Self::Currency => {
                let why = "the payment is in another currency than the provider's settings name";
                Problem::new(StatusCode::BAD_REQUEST, "notice_unreadable", why)
            }
            Self::Service(error) => error.into(),
            Self::Unread(status, why) => Problem::new(status, "unreadable_body", why),
        }
    }
}

/// `POST /payments/v1/notify/{provider}`
pub async fn notify(
    State(state): State<ControlState>,
    Path(name): Path<String>,
    visitor: Visitor,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(provider) = state.payments.iter().find(|provider| provider.name == name) else {
        let why = "there is no such payment provider";
        return Problem::new(StatusCode::NOT_FOUND, "not_found", why).into_response();
    };
    let caller =
        Caller { api_endpoint: format!("POST /payments/v1/notify/{}", provider.name), ..visitor.caller };
    match take(&state, provider, &caller, (&headers, body)).await {
        Ok(()) => accepted(&provider.scheme),
        Err(refused) => {
            if let Refused::Notice(error) = &refused {
                count(&state, &caller);
                tracing::warn!(provider = provider.name, %error, "a payment notice was refused");
            }
            answer(&provider.scheme, refused.problem())
        }
    }
}

async fn take(
    state: &ControlState,
    provider: &Provider,
    caller: &Caller,
    (headers, body): (&HeaderMap, Body),
) -> Result<(), Refused> {
    let body = match tokio::time::timeout(BODY_TIMEOUT, axum::body::to_bytes(body, MAX_NOTICE)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => {
            return Err(Refused::Unread(StatusCode::PAYLOAD_TOO_LARGE, "a notice has at most 64 KiB"));
        }
        Err(_) => {
            return Err(Refused::Unread(StatusCode::REQUEST_TIMEOUT, "the notice did not come in time"));
        }
    };
    match read(state, provider, headers, &body)? {
        Notice::Other => Ok(()),
        Notice::Paid(payment) => book(state, provider, caller, &payment).await,
    }
}

fn read(
    state: &ControlState,
    provider: &Provider,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Notice, NoticeError> {
    let now = state.clock.now();
    let header = |name: &'static str| {
        let mut all = headers.get_all(name).iter();
        let one = all.next().and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
        one.filter(|_| all.next().is_none()).ok_or(NoticeError::Unsigned(name))
    };
    match &provider.scheme {
        Scheme::Webhook(secret) => {
            let signed = webhook::Headers {
                id: header("webhook-id")?,
                timestamp: header("webhook-timestamp")?,
                signature: header("webhook-signature")?,
            };
            webhook::read(secret, signed, body, now)
        }
        Scheme::Alipay(merchant) => alipay::read(merchant, body),
        Scheme::WeChatPay(merchant) => {
            let signed = wechat::Headers {
                timestamp: header("wechatpay-timestamp")?,
                nonce: header("wechatpay-nonce")?,
                signature: header("wechatpay-signature")?,
                serial: header("wechatpay-serial")?,
            };
            wechat::read(merchant, signed, body, now)
        }
    }
}

async fn book(
    state: &ControlState,
    provider: &Provider,
    caller: &Caller,
    payment: &Payment,
) -> Result<(), Refused> {
    if payment.currency != provider.currency {
        return Err(Refused::Currency);
    }
    let reference = format!("{}:{}", provider.name, payment.id);
    let amount = payment.amount.at(provider.usd_per_unit);
    let amount = amount.map_err(|e| ServiceError::Invalid { field: "amount", why: e.to_string() })?;
    let note = format!("{} {}", payment.amount, payment.currency);
    let booked = state.services.credit.paid(&payment.account, amount, (reference, note), caller).await;
    if let Err(error) = &booked {
        // The provider sends it again; somebody must look at it by then.
        tracing::error!(provider = provider.name, payment = payment.id, account = %payment.account, %error,
            "a payment could not be booked");
    }
    booked.map(drop).map_err(Into::into)
}

/// What providers take for an answer.
fn accepted(scheme: &Scheme) -> Response {
    match scheme {
        Scheme::Webhook(_) | Scheme::WeChatPay(_) => StatusCode::NO_CONTENT.into_response(),
        Scheme::Alipay(_) => plain(StatusCode::OK, "success"),
    }
}

fn answer(scheme: &Scheme, problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    match scheme {
        Scheme::Webhook(_) => problem.into_response(),
        Scheme::Alipay(_) => plain(status, "fail"),
        Scheme::WeChatPay(_) => {
            let body = json!({"code": "FAIL", "message": problem.detail});
            (status, axum::Json(body)).into_response()
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    (status, [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"))], text).into_response()
}

fn count(state: &ControlState, caller: &Caller) {
    let block = caller.client_ip.parse().ok().map(counting_block);
    let subject = block.map_or(RefusalSubject::Operator(None, None), RefusalSubject::Block);
    state.services.refusals.count("payment_notice", subject, state.clock.now());
}
