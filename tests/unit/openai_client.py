"""The official client of OpenAI's API, against the API in this process."""

from typing import TypeVar

from openai import BaseModel, OpenAI

from tests.unit.fake_services import Served

Answer = TypeVar("Answer", bound=BaseModel)


def openai_client(served: Served, api_key: str = "none") -> OpenAI:
    """A client whose requests go to `served`; it never tries twice, so that errors are the first.

    What a stream sends arrives as a whole: the order is real, the timing is not.
    """
    return OpenAI(
        api_key=api_key,
        base_url="http://testserver/v1",
        http_client=served.client,
        max_retries=0,
    )


def checked(answer: Answer) -> Answer:
    """The answer, held against its own types: the client itself takes whatever comes."""
    return type(answer).model_validate(answer.to_dict())
