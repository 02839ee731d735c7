"""A TCP proxy that is slow to hand on what a server answers, in its order."""

import asyncio
import threading
import time
from typing import Final, Self

from local.ports import LOOPBACK


class SlowProxy:
    """Listens on one port of this machine and passes on to another; its delay may change at any time."""

    def __init__(self, port: int, to_port: int) -> None:
        self.delay_seconds = 0.0
        self.port: Final = port
        self._to_port = to_port
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="slow-proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, LOOPBACK, self.port)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        ours = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not ours]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self._to_port)
        answers: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        try:
            async with asyncio.TaskGroup() as connection:
                connection.create_task(self._pass_on(reader, server_writer))
                connection.create_task(self._take(server_reader, answers))
                connection.create_task(self._hand_on(answers, writer))
        except* OSError:
            pass
        finally:
            writer.transport.abort()
            server_writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("the client has closed")

    async def _take(
        self, reader: asyncio.StreamReader, answers: "asyncio.Queue[tuple[float, bytes]]"
    ) -> None:
        """Read on meanwhile, so that no answer is later for the sake of those before it."""
        while data := await reader.read(65_536):
            answers.put_nowait((time.monotonic() + self.delay_seconds, data))
        raise ConnectionResetError("the server has closed")

    async def _hand_on(
        self, answers: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter
    ) -> None:
        while True:
            due, data = await answers.get()
            await asyncio.sleep(due - time.monotonic())
            writer.write(data)
            await writer.drain()
