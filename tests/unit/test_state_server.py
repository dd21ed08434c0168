"""The `state` deployment as its callers see it."""

from configs.settings import SessionSettings, VoiceLibrarySettings
from deployments.messages import ChatMessage
from deployments.state.server import StateServer

TURN = ChatMessage("user", "One?"), ChatMessage("assistant", "Yes.")


async def test_the_deployment_remembers_for_whoever_asks() -> None:
    state = StateServer(SessionSettings(), VoiceLibrarySettings())
    await state.append_session("ann", "1", TURN, 0)
    session = await state.read_session("ann", "1")
    assert session
    assert session.messages == TURN
    assert await state.read_session("bob", "1") is None
    assert await state.delete_session("ann", "1")
    assert not await state.delete_session("ann", "1")
