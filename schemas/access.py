"""Who may use the apps: how people show who they are, and what each of them may do there."""

from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.records import Role, reviewer_name

Identity = Literal["local", "header", "oidc"]
ROLES: tuple[Role, ...] = get_args(Role)
# Reviews of this name are the known answers that people are held against; nobody may add to them by signing in.
GOLD = "gold"


def person_name(name: str) -> str:
    """The name of a person as reviews hold it. Raises ValueError for what is no name, or stands for no person.

    >>> person_name(" ann ")
    'ann'
    """
    composed = reviewer_name(name)
    if composed.casefold() == GOLD:
        raise ValueError(f"{GOLD!r} is the name of known answers, and no person's")
    return composed


class Person(NamedTuple):
    """Somebody who is signed in."""

    name: str
    roles: tuple[Role, ...]


class Access(BaseModel):
    """The access file: how people show who they are, and who may do what."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    identity: Identity = Field(
        default="local",
        description="local: a named user of this machine; header: a trusted proxy says who it is; oidc: OpenID Connect",
    )
    people: dict[Annotated[str, AfterValidator(person_name)], list[Role]] = Field(
        default_factory=dict, description="{name: [roles]}; roles are annotator, adjudicator and lead"
    )
    default_roles: list[Role] = Field(
        default=["annotator"], description="of who is signed in and not named in `people`; []: such a one is refused"
    )
    header: str = Field(
        default="X-Forwarded-User",
        pattern="^[A-Za-z0-9-]{1,100}$",
        description="for identity: header; the request header in which the proxy names the person",
    )
    claim: str = Field(
        default="email",
        pattern="^[A-Za-z0-9_]{1,100}$",
        description="for identity: oidc; the claim of the identity token that names the person",
    )
    provider: str | None = Field(
        default=None,
        pattern="^[A-Za-z0-9-]{1,100}$",
        description="for identity: oidc; NAME of the table [auth.NAME] in secrets.toml, left out: [auth] itself",
    )

    dashboard: str | None = Field(
        default=None,
        pattern=r"^https?://\S{1,500}$",
        description="address of the dashboard, to which leads are led from figures to trajectories",
    )

    @model_validator(mode="after")
    def _of_its_identity(self) -> "Access":
        for setting, identity in (("header", "header"), ("claim", "oidc"), ("provider", "oidc")):
            if setting in self.model_fields_set and self.identity != identity:
                raise ValueError(f"{setting} is for `identity: {identity}`, and it is {self.identity} here")
        return self

    def person(self, name: str) -> Person:
        """The person of that name with their roles, in the order of ROLES; none where they may not come in.

        Raises ValueError for what is no person's name.
        """
        composed = person_name(name)
        otherwise = list(ROLES) if self.identity == "local" else self.default_roles
        given = self.people.get(composed, otherwise)
        return Person(composed, tuple(role for role in ROLES if role in given))
