start().catch(error => { say('The cloud could not be drawn', String(error && error.message || error)); console.error(error); });
