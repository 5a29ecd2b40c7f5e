#!/usr/bin/env bash
# FastAPI answers a JSON body that fails validation with 422 and repeats the refused value in the answer. Python's JSON
# reader accepts numbers that JSON cannot express (1e999 becomes infinity) and lone halves of surrogate pairs; the answer
# with such a value cannot be written, and the client gets 500 instead of 422. A service whose types are strict therefore
# looks broken to monitoring and to API tests whenever somebody sends such a number.
#
# Seen on 2026-12-01 with fastapi 0.165.0, starlette 1.10.0 and pydantic 2.14.4, Python 3.11:
#   {"age": "young"} -> 422, {"age": 1e999} -> 500 (ValueError: Out of range float values are not JSON compliant),
#   {"age": "\ud800"} -> 500 (UnicodeEncodeError)
# A handler of RequestValidationError that does not repeat the input answers 422 to all three.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet --disable-pip-version-check fastapi==0.165.0 starlette==1.10.0 pydantic==2.14.4 httpx==0.28.1
cat > seen.py <<'PY'
import asyncio
import httpx
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel

class Person(BaseModel):
    age: int

def application(own_handler):
    app = FastAPI()

    @app.post("/people")
    def add(person: Person) -> int:
        return person.age

    if own_handler:
        @app.exception_handler(RequestValidationError)
        async def refuse(request: Request, error: RequestValidationError) -> JSONResponse:
            return JSONResponse([entry["msg"] for entry in error.errors()], 422)
    return app

async def statuses(own_handler):
    transport = httpx.ASGITransport(application(own_handler), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        bodies = ('{"age": "young"}', '{"age": 1e999}', '{"age": "\\ud800"}')
        headers = {"content-type": "application/json"}
        return [(await client.post("/people", content=body, headers=headers)).status_code for body in bodies]

print("as it is:", *asyncio.run(statuses(False)))
print("with a handler:", *asyncio.run(statuses(True)))
PY
venv/bin/python seen.py | tee seen
[ "$(cat seen)" = $'as it is: 422 500 500\nwith a handler: 422 422 422' ] || { echo "changed: refusals are answered as such now"; exit 1; }
