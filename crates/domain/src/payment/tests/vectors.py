"""Makes the vectors that payment notices are tested with, by other code than ours."""
import base64, hashlib, hmac, json, os, urllib.parse
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
pem = lambda k: k.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
b64 = lambda raw: base64.b64encode(raw).decode()
sign = lambda text: b64(key.sign(text, padding.PKCS1v15(), hashes.SHA256()))
account = "acct_0123456789AbCdEfGhIjKlMn"
now = 1767571200

secret = bytes(range(32))
body = json.dumps({"type": "payment.succeeded", "id": "pay_1", "account": account, "amount": "12.50", "currency": "EUR"})
mac = b64(hmac.new(secret, f"msg_1.{now}.{body}".encode(), hashlib.sha256).digest())
webhook = {"secret": "whsec_" + b64(secret), "id": "msg_1", "timestamp": str(now), "signature": "v1,AAAA v1," + mac, "body": body}

def form(**change):
    fields = {"notify_time": "2026-01-05 08:00:00", "notify_type": "trade_status_sync", "notify_id": "n1", "charset": "utf-8",
              "version": "1.0", "app_id": "2021000000000001", "seller_id": "2088000000000002", "trade_no": "2026010522001400000000000001",
              "out_trade_no": account + "_7", "trade_status": "TRADE_SUCCESS", "total_amount": "100.05", "subject": "额度 & more=1%",
              "passback_params": "", **change}
    text = "&".join(f"{k}={fields[k]}" for k in sorted(fields))
    fields["sign"], fields["sign_type"] = sign(text.encode()), "RSA2"
    return urllib.parse.urlencode(fields)

alipay = {"body": form(), "closed": form(trade_status="TRADE_CLOSED"), "other_app": form(app_id="2021000000000009"),
          "other_seller": form(seller_id="2088000000000009"), "nobody": form(out_trade_no="7"),
          "passback": form(out_trade_no="7", passback_params=account)}

v3 = b"0123456789abcdef0123456789ABCDEF"
def envelope(event="TRANSACTION.SUCCESS", aad="transaction", **change):
    paid = {"mchid": "1900000001", "appid": "wx1", "out_trade_no": "order7", "transaction_id": "4200000001202601050000000001",
            "trade_state": "SUCCESS", "attach": account, "payer": {"openid": "o"}, "success_time": "2026-01-05T08:00:00+08:00",
            "amount": {"total": 10005, "payer_total": 10000, "currency": "CNY", "payer_currency": "CNY"}, **change}
    nonce = "0123456789ab"
    sealed = AESGCM(v3).encrypt(nonce.encode(), json.dumps(paid).encode(), b"transaction")
    text = json.dumps({"id": "e1", "create_time": "2026-01-05T08:00:00+08:00", "resource_type": "encrypt-resource", "event_type": event,
                       "summary": "支付成功", "resource": {"original_type": "transaction", "algorithm": "AEAD_AES_256_GCM",
                       "ciphertext": b64(sealed), "associated_data": aad, "nonce": nonce}}, ensure_ascii=False)
    return {"body": text, "timestamp": str(now), "nonce": "n0nce", "serial": "PUB_KEY_ID_1",
            "signature": sign(f"{now}\nn0nce\n{text}\n".encode())}
wechat = {"api_key": v3.decode(), "paid": envelope(), "refund": envelope(event="REFUND.SUCCESS"), "other_merchant": envelope(mchid="1900000009"),
          "other_app": envelope(appid="wx9"), "wrong_aad": envelope(aad="refund"), "closed": envelope(trade_state="CLOSED"),
          "nobody": envelope(attach="", out_trade_no="7")}
print(json.dumps({"now": now, "account": account, "key": pem(key), "other_key": pem(other), "webhook": webhook, "alipay": alipay,
                  "wechat": wechat}, ensure_ascii=False, indent=1))
