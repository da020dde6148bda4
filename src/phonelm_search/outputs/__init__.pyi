from .explanation import explanation_document as explanation_document
from .rows import NO_LATENCY as NO_LATENCY, Row as Row, SIMULATED as SIMULATED, STUDY_COLUMNS as STUDY_COLUMNS, compilation_row as compilation_row, doubtful_rows as doubtful_rows, latency_row as latency_row, scenario_rows as scenario_rows, sensitivity_rows as sensitivity_rows, study_rows as study_rows
