"""A mail server that prints its port, then one line of JSON for each mail that it took."""

import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

MODE = sys.argv[1]
CONTEXT = None
if len(sys.argv) > 2:
    CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CONTEXT.load_cert_chain(sys.argv[2], sys.argv[3])


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such user"
        if address.startswith("busy@"):
            return "451 try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        part = lambda kind: mail.get_body((kind,)).get_content().replace("\r\n", "\n")
        kept = {
            "to": envelope.rcpt_tos,
            "from": envelope.mail_from,
            "user": session.auth_data.login.decode() if session.auth_data else None,
            "tls": session.ssl is not None or MODE == "implicit",
            "headers": {k: str(v) for k, v in mail.items() if k != "Content-Type"},
            "plain": part("plain"),
            "html": part("html"),
        }
        print(json.dumps(kept), flush=True)
        return "250 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"claviger", b"hunter2")
    return AuthResult(success=good, handled=False, auth_data=data if good else None)


def session():
    return SMTP(
        Handler(),
        hostname="localhost",
        tls_context=CONTEXT if MODE == "starttls" else None,
        require_starttls=MODE == "starttls",
        auth_required=MODE != "plain",
        auth_require_tls=MODE == "starttls",
        authenticator=authenticate,
        loop=asyncio.get_running_loop(),
    )


async def main():
    loop = asyncio.get_running_loop()
    tls = CONTEXT if MODE == "implicit" else None
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


asyncio.run(main())
