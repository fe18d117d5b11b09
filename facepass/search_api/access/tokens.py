"""Guests' tokens: a session's link carries one, and the page sends it with its requests.

The link is `{public_url}/api/v1/sessions/{id}/interface#token=...`: what follows `#` never leaves the browser, so
the token is in no server's log and in no Referer. The document of the page needs no token; its script reads the
fragment and sends `Authorization: Bearer ...` with every request. A token in a query string is not accepted.
"""
