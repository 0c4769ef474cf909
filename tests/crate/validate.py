"""Run by the environment of the validator: what is wrong with the crate in a folder, a line each, as JSON.

The network is not asked: the two contexts that a crate names are stood in for by the terms of them that it uses.
"""

import json
import sys

from rocrate_validator import models, services
from rocrate_validator.utils import document_loader, http

SCHEMA = "http://schema.org/"
TERMS = {
    **{
        term: SCHEMA + term
        for term in (
            "about", "actionStatus", "contentSize", "CreateAction", "CreativeWork", "ComputerLanguage", "Dataset",
            "datePublished", "description", "encodingFormat", "endTime", "error", "hasPart", "identifier", "instrument",
            "license", "mainEntity", "mentions", "name", "object", "programmingLanguage", "result", "sha256",
            "SoftwareApplication", "SoftwareSourceCode", "startTime", "url", "version", "WebPage",
        )
    },
    "File": SCHEMA + "MediaObject",
    "ComputationalWorkflow": "https://bioschemas.org/ComputationalWorkflow",
    "conformsTo": "http://purl.org/dc/terms/conformsTo",
}  # fmt: skip
CONTEXTS = {
    "https://w3id.org/ro/crate/1.1/context": TERMS,
    "https://w3id.org/ro/terms/workflow-run/context": {"sha256": "https://w3id.org/ro/terms/workflow-run#sha256"},
}


class Answer:
    """What the address of a context would answer."""

    status_code, headers = 200, {"Content-Type": "application/ld+json"}

    def __init__(self, url):
        self.content = {"@context": CONTEXTS[url.partition("#")[0]]}
        self.text = json.dumps(self.content)

    def json(self):
        return self.content


def main() -> None:
    folder, level = sys.argv[1:]
    http.HttpRequester.get = lambda _self, url, **_: Answer(url)
    document_loader.install_document_loader()
    settings = services.ValidationSettings(
        rocrate_uri=folder,
        requirement_severity=models.Severity[level],
        profile_identifier="workflow-run-crate-0.5",
        skip_availability_check=True,
        offline=True,
    )
    issues = services.validate(settings).get_issues()
    print(json.dumps([f"{issue.check.identifier}: {issue.message} ({issue.violatingEntity})" for issue in issues]))


if __name__ == "__main__":
    main()
