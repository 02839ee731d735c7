"""FastAPI, an empty answer, in its fastest form: the endpoint returns a `Response`.

Its documentation ("Return a Response Directly") names this as the way past everything it does with a result.
"""

from fastapi import FastAPI, Response

app = FastAPI()


@app.post("/api/request")
async def answer() -> Response:
    """Nothing, with status 200."""
    return Response()
