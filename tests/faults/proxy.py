"""A TCP proxy that is slow to hand on what a server answers."""

import asyncio
import threading
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
        try:
            async with asyncio.TaskGroup() as both_ways:
                both_ways.create_task(self._pass_on(reader, server_writer, is_answer=False))
                both_ways.create_task(self._pass_on(server_reader, writer, is_answer=True))
        except* OSError:
            pass
        finally:
            writer.transport.abort()
            server_writer.transport.abort()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        loop = asyncio.get_running_loop()
        while data := await reader.read(65_536):
            if is_answer and self.delay_seconds:
                # Late, but in order, and none later for the sake of those before it.
                loop.call_later(self.delay_seconds, writer.write, data)
            else:
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError("one end has closed")
