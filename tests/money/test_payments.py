"""Notices of Alipay and WeChat Pay, at the address that they are sent to: signed here with keys of the test's own, as those
providers describe it, and not by any code of Claviger's."""

import base64
import http.client
import json
import pathlib
import tempfile
import time
import urllib.parse
from fractions import Fraction

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from processes import Claviger

PICO = 10**12
APP, SELLER = "2021000000000009", "2088000000000009"
MERCHANT, WECHAT_APP, SERIAL = "1900000009", "wx0123456789abcdef", "PUB_KEY_ID_0123456789"
API_KEY = "abcdefghijklmnopqrstuvwxyz012345"
RATE = Fraction("0.1397")

ALIPAY, WECHAT, STRANGER = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(3))


def public(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def signature(key, text):
    return base64.b64encode(key.sign(text, padding.PKCS1v15(), hashes.SHA256())).decode()


def alipay_form(key, **fields):
    """A notice of a trade; fields may be changed before it is signed."""
    trade = {"notify_time": "2026-11-22 20:15:01", "notify_type": "trade_status_sync", "notify_id": "ac05099524730693a8b",
             "app_id": APP, "charset": "utf-8", "version": "1.0", "trade_no": "2026112222001156789", "seller_id": SELLER,
             "trade_status": "TRADE_SUCCESS", "total_amount": "100.05", "receipt_amount": "100.05",
             "subject": "充值 & credit=1", "buyer_logon_id": "159****5620", **fields}
    signed = "&".join(f"{name}={trade[name]}" for name in sorted(trade))
    return urllib.parse.urlencode({**trade, "sign_type": "RSA2", "sign": signature(key, signed.encode())})


def wechat_notice(key, account, *, event="TRANSACTION.SUCCESS", api_key=API_KEY, serial=SERIAL, age=0, **fields):
    """The headers and the body of a notice; fields of the transaction may be changed before it is sealed and signed."""
    paid = {"mchid": MERCHANT, "appid": WECHAT_APP, "out_trade_no": f"{account}_77", "transaction_id": "4200001234202611225",
            "trade_type": "NATIVE", "trade_state": "SUCCESS", "bank_type": "CMC", "attach": "",
            "success_time": "2026-11-22T20:15:01+08:00", "payer": {"openid": "o"},
            "amount": {"total": 8_888, "payer_total": 8_888, "currency": "CNY", "payer_currency": "CNY"}, **fields}
    nonce, extra = "fdasflkja484w", "transaction"
    nonce = nonce[:12]
    sealed = AESGCM(api_key.encode()).encrypt(nonce.encode(), json.dumps(paid).encode(), extra.encode())
    resource = {"original_type": "transaction", "algorithm": "AEAD_AES_256_GCM", "associated_data": extra, "nonce": nonce,
                "ciphertext": base64.b64encode(sealed).decode()}
    body = json.dumps({"id": "EV-1", "create_time": "2026-11-22T20:15:02+08:00", "resource_type": "encrypt-resource",
                       "event_type": event, "summary": "支付成功", "resource": resource})
    stamp, noise = str(int(time.time()) - age), "593BEC0C930BF1AFEB40B4A08C8FB242"
    headers = {"wechatpay-timestamp": stamp, "wechatpay-nonce": noise, "wechatpay-serial": serial,
               "wechatpay-signature-type": "WECHATPAY2-SHA256-RSA2048",
               "wechatpay-signature": signature(key, f"{stamp}\n{noise}\n{body}\n".encode())}
    return headers, body


class House:
    """A gateway with both providers configured, and accounts of its own."""

    def __init__(self, folder):
        def write(name, text):
            path = folder / name
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            path.chmod(0o600)
            return path

        write("alipay.pem", public(ALIPAY))
        write("wechat.pem", public(WECHAT))
        write("wechat.v3", API_KEY)
        providers = write("payments.toml", f"""
            [[provider]]
            name = "alipay"
            kind = "alipay"
            currency = "CNY"
            usd_per_unit = "{float(RATE)}"
            public_key_file = "alipay.pem"
            app_id = "{APP}"
            seller_id = "{SELLER}"

            [[provider]]
            name = "wechat"
            kind = "wechatpay"
            currency = "CNY"
            usd_per_unit = "{float(RATE)}"
            public_key_file = "wechat.pem"
            serial = "{SERIAL}"
            api_key_file = "wechat.v3"
            mchid = "{MERCHANT}"
            appid = "{WECHAT_APP}"
        """)
        config = write("claviger.toml", f'payments = "{providers}"\n')
        self.claviger = Claviger(folder, "--config", str(config))

    def account(self):
        owner = self.claviger.json("owner", "create", f"payer-{time.monotonic_ns()}")
        return self.claviger.json("credit", "open", "--owner", owner["id"])["id"]

    def tell(self, provider, body, headers=()):
        place = urllib.parse.urlsplit(self.claviger.control)
        connection = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
        kind = "application/x-www-form-urlencoded" if provider == "alipay" else "application/json"
        connection.request("POST", f"/payments/v1/notify/{provider}", body.encode(), {"content-type": kind, **dict(headers)})
        answer = connection.getresponse()
        told = answer.status, answer.read().decode()
        connection.close()
        return told

    def entries(self, account):
        return [(entry["kind"], int(entry["amount_pusd"]), entry["reference"], entry["note"])
                for entry in self.claviger.json("credit", "statement", account)]


@pytest.fixture(scope="module")
def house():
    with tempfile.TemporaryDirectory() as name:
        house = House(pathlib.Path(name))
        try:
            yield house
        finally:
            house.claviger.stop()


def dollars(amount):
    """A yuan amount at the rate, in whole pico-dollars."""
    return int(Fraction(amount) * RATE * PICO)


@pytest.mark.parametrize("named", ["passback_params", "out_trade_no"])
def test_a_payment_by_alipay_is_booked_once(house, named):
    account = house.account()
    trade = f"20261122{time.monotonic_ns()}"
    fields = {"out_trade_no": "77", "trade_no": trade, named: account if named == "passback_params" else f"{account}-77"}
    form = alipay_form(ALIPAY, **fields)
    for _ in range(3):
        assert house.tell("alipay", form) == (200, "success")
    # It is told again when the trade can no longer be refunded: the same payment.
    assert house.tell("alipay", alipay_form(ALIPAY, **fields, trade_status="TRADE_FINISHED")) == (200, "success")
    assert house.entries(account) == [("top_up", dollars("100.05"), f"alipay:{trade}", "100.05 CNY")]
    assert house.claviger.json("credit", "verify")["ok"]


def test_what_alipay_has_not_signed_books_nothing(house):
    account = house.account()
    form = alipay_form(ALIPAY, passback_params=account)
    for forged in [
        form.replace("total_amount=100.05", "total_amount=900.05"),
        alipay_form(STRANGER, passback_params=account),
        form + "&note=added",
        form + "&total_amount=900.05",
        form.replace("sign_type=RSA2", "sign_type=RSA"),
        urllib.parse.urlencode([pair for pair in urllib.parse.parse_qsl(form) if pair[0] != "sign"]),
        "",
    ]:
        status, told = house.tell("alipay", forged)
        assert (status in (400, 401), told) == (True, "fail"), forged
    for other in [{"app_id": "2021000000000001"}, {"seller_id": "2088000000000001"}]:
        assert house.tell("alipay", alipay_form(ALIPAY, passback_params=account, **other)) == (403, "fail")
    for nothing in ["WAIT_BUYER_PAY", "TRADE_CLOSED"]:
        assert house.tell("alipay", alipay_form(ALIPAY, passback_params=account, trade_status=nothing)) == (200, "success")
    assert house.entries(account) == []


@pytest.mark.parametrize("named", ["attach", "out_trade_no"])
def test_a_payment_by_wechat_is_booked_once(house, named):
    account = house.account()
    trade = f"42000{time.monotonic_ns()}"
    fields = {"transaction_id": trade, **({"attach": account, "out_trade_no": "77"} if named == "attach" else {})}
    for _ in range(3):
        headers, body = wechat_notice(WECHAT, account, **fields)
        assert house.tell("wechat", body, headers) == (204, "")
    assert house.entries(account) == [("top_up", dollars("88.88"), f"wechat:{trade}", "88.88 CNY")]
    assert house.claviger.json("credit", "verify")["ok"]


def test_what_wechat_has_not_signed_or_sealed_books_nothing(house):
    account = house.account()
    headers, body = wechat_notice(WECHAT, account)
    probe = {**headers, "wechatpay-signature": "WECHATPAY/SIGNTEST/" + headers["wechatpay-signature"]}
    without = {name: value for name, value in headers.items() if name != "wechatpay-serial"}
    for why, (sent, text), statuses in [
        ("another body", (headers, body.replace("EV-1", "EV-2")), {401}),
        ("another time", ({**headers, "wechatpay-timestamp": str(int(headers["wechatpay-timestamp"]) + 1)}, body), {401}),
        ("another nonce", ({**headers, "wechatpay-nonce": "other"}, body), {401}),
        ("another key", wechat_notice(STRANGER, account), {401}),
        ("another serial", wechat_notice(WECHAT, account, serial="PUB_KEY_ID_1"), {401}),
        ("no serial", (without, body), {401}),
        ("a probe", (probe, body), {401}),
        ("too old", wechat_notice(WECHAT, account, age=301), {401}),
        ("from the future", wechat_notice(WECHAT, account, age=-330), {401}),
        ("sealed by another key", wechat_notice(WECHAT, account, api_key=API_KEY[::-1]), {400}),
        ("another merchant", wechat_notice(WECHAT, account, mchid="1900000001"), {403}),
        ("another application", wechat_notice(WECHAT, account, appid="wx1"), {403}),
        ("another currency", wechat_notice(WECHAT, account, amount={"total": 1, "currency": "HKD"}), {400}),
    ]:
        status, told = house.tell("wechat", text, sent)
        assert status in statuses and json.loads(told)["code"] == "FAIL", (why, status, told)
        assert API_KEY not in told
    for nothing in [{"event": "REFUND.SUCCESS"}, {"trade_state": "REFUND"}, {"trade_state": "USERPAYING"}]:
        sent, text = wechat_notice(WECHAT, account, **nothing)
        assert house.tell("wechat", text, sent) == (204, "")
    assert house.entries(account) == []


def test_what_is_paid_can_be_spent_and_no_more_than_that(house):
    """The credit of the two is one book: both payments stand in it, and the ceiling of calls is their sum."""
    account = house.account()
    trade = f"20261123{time.monotonic_ns()}"
    assert house.tell("alipay", alipay_form(ALIPAY, passback_params=account, trade_no=trade, total_amount="0.01"))[0] == 200
    headers, body = wechat_notice(WECHAT, account, transaction_id=f"43{trade}", amount={"total": 2})
    assert house.tell("wechat", body, headers)[0] == 204
    shown = house.claviger.json("credit", "show", account)
    assert int(shown["paid_pusd"]) == int(shown["limit_pusd"]) == dollars("0.01") + dollars("0.02")


def test_a_payment_for_an_account_that_is_not_here_is_told_again(house):
    stranger = "acct_" + "z" * 24
    status, told = house.tell("alipay", alipay_form(ALIPAY, passback_params=stranger))
    assert (status, told) == (404, "fail")
    headers, body = wechat_notice(WECHAT, stranger)
    status, told = house.tell("wechat", body, headers)
    assert status == 404 and json.loads(told)["code"] == "FAIL"
