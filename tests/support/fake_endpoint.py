"""
An endpoint without a wire: keeps what a transaction user does with it, and
answers when the test says so.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from sipxha.net.endpoint import IBranchObserver, ITransactionUser, Remains
from sipxha.sip.hop import Flow, Hop
from sipxha.sip.message import Request, Response
from sipxha.sip.response import response_to
from sipxha.transaction.vocabulary import ServerKey

FLOW = Flow("udp", "10.1.1.7", 5060, "10.1.1.50", 5060)


class FakeBranch:
    """
    A request that was sent, and its observer.
    """

    def __init__(
        self,
        request: Request,
        hops: Sequence[Hop | Flow],
        observer: IBranchObserver,
        first_answer: float | None,
        suffix: str = "",
        last_answer: float | None = None,
        user: ITransactionUser | None = None,
    ) -> None:
        self.suffix = suffix
        self.request = request
        self.hops = list(hops)
        self.first_answer = first_answer
        self.last_answer = last_answer
        self.is_cancelled = False
        self.reason: str | None = None
        self.remains: Remains | None = None
        """What is left of it, if its observer hears no more."""

        self._observer = observer
        self._user = user

    def leave(self, remains: Remains) -> None:
        """
        Remember what the transaction user is to know.
        """
        self.remains = remains

    def cancel(self, reason: str | None = None) -> None:
        """
        Remember that it was.
        """
        self.is_cancelled = True
        self.reason = reason

    def hear(self) -> None:
        """
        Let the far end give a sign of life.
        """
        self._observer.hop_answered(self, self.hops[0])  # type: ignore[arg-type]

    def answer(self, status: int, *contacts: str, to_tag: str = "far", **fields: str) -> None:
        """
        Let the far end answer.
        """
        response = response_to(self.request, status, to_tag=to_tag)
        for contact in contacts:
            response.add("contact", contact)
        for name, value in fields.items():
            response.add(name.replace("_", "-"), value)
        self.receive(response)

    def receive(self, response: Response) -> None:
        """
        Let this be the answer, without our Via.
        """
        if self.remains is None:
            self._observer.response_received(self, response)  # type: ignore[arg-type]
        elif response.status < 300:
            assert self._user is not None
            self.remains = self._user.answered_late(self.remains, response)


class FakeEndpoint:
    """
    What L{sipxha.net.endpoint.Endpoint} is to a transaction user.
    """

    def __init__(self) -> None:
        self.responses: list[tuple[ServerKey, Response]] = []
        self.branches: list[FakeBranch] = []
        self.acks: list[tuple[Request, list[Hop | Flow]]] = []
        self.gone: set[Flow] = set()
        """The flows on which nothing can be sent any more."""

        self.at_once: Callable[[Request, Hop | Flow], Response | None] | None = None
        """What a service of the same process answers without being sent a request."""

        self.pinged: list[Flow] = []
        self.user: ITransactionUser | None = None
        self._tags = itertools.count(1)

    def respond(self, transaction: ServerKey, response: Response) -> None:
        """
        Remember the response.
        """
        self.responses.append((transaction, response))

    def trying(self, transaction: ServerKey, request: Request) -> None:
        """
        Remember a 100.
        """
        self.respond(transaction, response_to(request, 100))

    def own_response(self, request: Request, status: int, reason: str | None = None) -> Response:
        """
        A response with a To tag.
        """
        return response_to(request, status, reason, to_tag=f"own{next(self._tags)}")

    def request(
        self,
        request: Request,
        hops: Sequence[Hop | Flow],
        observer: IBranchObserver,
        *,
        branch_suffix: str = "",
        first_answer: float | None = None,
        last_answer: float | None = None,
    ) -> FakeBranch:
        """
        Remember the request.
        """
        branch = FakeBranch(request, hops, observer, first_answer, branch_suffix, last_answer, self.user)
        self.branches.append(branch)
        return branch

    def ask(self, request: Request, hop: Hop | Flow) -> Response | None:
        """
        As the test says.
        """
        return None if self.at_once is None else self.at_once(request, hop)

    def send_ack(self, request: Request, hops: Sequence[Hop | Flow]) -> None:
        """
        Remember the ACK.
        """
        self.acks.append((request, list(hops)))

    def is_alive(self, flow: Flow) -> bool:
        """
        Whatever the test did not take away.
        """
        return all(flow.connection != gone.connection for gone in self.gone)

    def ping(self, flow: Flow) -> None:
        """
        Remember it.
        """
        self.pinged.append(flow)

    @property
    def statuses(self) -> list[int]:
        """
        The statuses of all responses.
        """
        return [response.status for _, response in self.responses]
